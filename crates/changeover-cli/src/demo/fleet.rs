//! The instances of the service, each a process of its own, as their parent sees them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::traffic::Ports;
use super::world::World;

/// An instance that isn't up within this time never will be.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// How every instance is started.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    pub(super) world: World,
    /// The new side's artificial delay.
    pub(super) slow_new: Duration,
    /// The flag's file, for instances that move by the flag alone.
    pub(super) naive: Option<PathBuf>,
    /// Whether who is started from now on has the planted bugs mended.
    pub(super) mended: bool,
}

/// All instances.
pub(super) struct Fleet {
    orders: Orders,
    members: Vec<Member>,
    ports: watch::Sender<Vec<u16>>,
}

struct Member {
    number: usize,
    port: u16,
    process: Child,
}

impl Fleet {
    /// Starts so many instances, and waits until each of them listens.
    pub(super) async fn start(orders: Orders, instances: usize) -> Result<Self, String> {
        let mut fleet = Self { orders, members: Vec::new(), ports: watch::Sender::new(Vec::new()) };
        for number in 0..instances {
            let member = fleet.launch(number).await?;
            fleet.members.push(member);
        }
        fleet.tell();
        Ok(fleet)
    }

    /// Where they listen, now and later.
    pub(super) fn ports(&self) -> Ports {
        self.ports.subscribe()
    }

    /// Who is started from now on has the planted bugs mended.
    pub(super) const fn deploy_mended(&mut self) {
        self.orders.mended = true;
    }

    /// The process id of an instance.
    pub(super) fn pid(&self, number: usize) -> Option<u32> {
        self.members.get(number).and_then(|m| m.process.id())
    }

    /// Kills an instance with SIGKILL, in the middle of whatever it does.
    pub(super) async fn kill(&mut self, number: usize) -> Result<(), String> {
        let Some(at) = self.members.iter().position(|m| m.number == number) else {
            return Err(format!("there is no instance {number} to kill"));
        };
        let mut member = self.members.remove(at);
        self.tell();
        member.process.kill().await.map_err(|e| format!("instance {number} couldn't be killed: {e}"))
    }

    /// Starts an instance again that was killed: the same one, by its step file.
    pub(super) async fn restart(&mut self, number: usize) -> Result<(), String> {
        let member = self.launch(number).await?;
        self.members.insert(number.min(self.members.len()), member);
        self.tell();
        Ok(())
    }

    /// Lets every instance say goodbye, and waits for it.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        for member in &mut self.members {
            // An instance ends when its standard input does.
            drop(member.process.stdin.take());
        }
        for mut member in self.members {
            match tokio::time::timeout(UP_WITHIN, member.process.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => return Err(format!("instance {} ended with {status}", member.number)),
                Ok(Err(error)) => return Err(format!("instance {}: {error}", member.number)),
                Err(_) => {
                    return Err(format!(
                        "instance {} didn't end within {} s",
                        member.number,
                        UP_WITHIN.as_secs()
                    ));
                }
            }
        }
        Ok(())
    }

    fn tell(&self) {
        self.ports.send_replace(self.members.iter().map(|m| m.port).collect());
    }

    async fn launch(&self, number: usize) -> Result<Member, String> {
        let binary =
            std::env::current_exe().map_err(|e| format!("the command doesn't know its own file: {e}"))?;
        let log = self.orders.world.folder.join(format!("instance-{number}.log"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| format!("{}: {e}", log.display()))?;
        let mut command = Command::new(binary);
        command.arg(super::INSTANCE).arg(&self.orders.world.folder).arg(number.to_string());
        command.arg("--slow-new").arg(self.orders.slow_new.as_millis().to_string());
        if let Some(flag) = &self.orders.naive {
            command.arg("--naive").arg(flag);
        }
        if self.orders.mended {
            command.arg("--mended");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().map_err(|e| format!("instance {number} can't be started: {e}"))?;
        let port = tokio::time::timeout(UP_WITHIN, announced(&mut process))
            .await
            .map_err(|_| format!("instance {number} isn't up after {} s", UP_WITHIN.as_secs()))?;
        match port {
            Some(port) => Ok(Member { number, port, process }),
            None => Err(format!(
                "instance {number} ended before it was up: see {}",
                self.orders.world.folder.join(format!("instance-{number}.log")).display()
            )),
        }
    }
}

/// The port that an instance says it listens on, its first line.
async fn announced(process: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    lines.next_line().await.ok()??.trim().parse().ok()
}
