//! The shell that a server runs under, and how it is told what to do.
//!
//! A server must not outlive its test, and a test process may be killed, may abort, and never drops its statics. So the
//! server is the child of a small shell (`supervisor.sh`) that reads from a pipe of the test process: the
//! kernel closes that, whatever happens. The shell is the server's parent, so the id that it signals is always the server's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::account::Account;

/// A supervising shell.
#[derive(Debug)]
pub(super) struct Supervisor {
    shell: Child,
    /// `None` once it is told to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    /// The running server's process.
    server: Option<u32>,
}

impl Supervisor {
    /// One for the server of this command, which isn't started yet. From here on the folder goes with the test process.
    pub(super) fn new(account: Account, folder: &Path, server: &[String]) -> Self {
        let log = folder.join("log");
        File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        account.own(&log);
        let mut shell = account.command(Path::new("/bin/sh"));
        shell.args(["-c", include_str!("supervisor.sh"), "changeover-test-server"]);
        shell.arg(folder).args(server);
        shell.current_dir(folder).env("HOME", folder);
        // What an interrupt from the terminal ends is the test process: the rest follows by the pipe.
        shell.process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("/bin/sh, to run a database server under");
        let orders = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().expect("it is piped"));
        Self { shell, orders, answers, log, server: None }
    }

    /// Runs a command before the server is started, in the folder and by its account; what it says is in the log.
    ///
    /// # Panics
    /// If it fails.
    pub(super) fn run(&mut self, command: &[String]) {
        let quoted: Vec<String> =
            command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let status = self.order(&format!("run {}", quoted.join(" ")));
        if status != "0" {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("{} failed with {status}: {said}", command.join(" "));
        }
    }

    /// Starts the server, and gives its process; whether it is ready is for the caller to ask it.
    pub(super) fn start(&mut self) -> u32 {
        assert_eq!(self.server, None, "the server runs already");
        let process = self.order("start").parse().expect("a process id");
        self.server = Some(process);
        process
    }

    /// Ends the server by a signal, and waits until it is gone. Does nothing if none runs.
    pub(super) fn end(&mut self, signal: &str) {
        if self.server.take().is_some() {
            self.order(&format!("end {signal}"));
        }
    }

    /// Whether the server runs, as far as can be seen: it is a child of the shell, so one that ended by itself is there as
    /// a zombie until `end`. Where there is no `/proc`, a dead one is found by what waits for it.
    pub(super) fn alive(&self) -> bool {
        let Some(process) = self.server else { return false };
        match fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => !Path::new("/proc/self").exists(),
        }
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("the supervisor isn't told to end yet");
        writeln!(orders, "{order}").expect("the supervisor reads its orders");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor's answer");
        assert!(!answer.is_empty(), "the supervising shell is gone: somebody killed it");
        answer.trim().to_owned()
    }
}

impl Drop for Supervisor {
    /// Ends the server and waits until its folder is gone.
    fn drop(&mut self) {
        self.orders = None;
        // If the wait fails, somebody else has waited for it: it is gone all the same.
        let _ = self.shell.wait();
    }
}
