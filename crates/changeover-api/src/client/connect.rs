//! How a service begins to take part: it goes on from its step file, or registers; it never guesses.

use std::path::PathBuf;
use std::time::Duration;

use changeover::keyed::RouteBy;
use changeover::protocol::member::{InstanceId, Remembered};
use changeover::protocol::{Millis, Target};
use changeover::samples::Redaction;
use changeover::switch::{StepFile, SwitchHandle};
use changeover::{Builder, Migration};

use super::error::ClientError;
use super::http::{Call, Http};
use super::instance::Instance;
use super::peers::Source;
use crate::runfile::RunFile;
use crate::secret::Secret;
use crate::wire::{ErrorCode, Heartbeat, InstanceSettings, Redact, Register, Resume, TargetAnswer, Vitals};

/// How long one request of the start may take.
const WITHIN: Duration = Duration::from_secs(3);

/// How often a registration is tried whose version was overtaken.
const REGISTRATIONS: u32 = 50;

/// How often evidence is told, unless said otherwise.
const EVIDENCE_EVERY: Duration = Duration::from_secs(5);

/// How a service takes part in a migration.
///
/// [`Connect::start`] gives the migration, by which operations are routed, and the [`Instance`], by which it stops.
#[derive(Debug, Clone)]
pub struct Connect {
    migration: String,
    source: Source,
    instance: String,
    step_file: Option<PathBuf>,
    evidence_every: Duration,
}

/// A switch that was made, and how.
struct Started {
    migration: Migration,
    switch: SwitchHandle,
}

impl Connect {
    /// To the control plane wherever it is.
    #[must_use]
    pub fn new(migration: impl Into<String>, source: Source) -> Self {
        Self {
            migration: migration.into(),
            source,
            instance: format!("instance-{}", std::process::id()),
            step_file: None,
            evidence_every: EVIDENCE_EVERY,
        }
    }

    /// To the run whose file this is, as in `.changeover/bookings.run`.
    #[must_use]
    pub fn to_run(migration: impl Into<String>, run_file: impl Into<PathBuf>) -> Self {
        Self::new(migration, Source::RunFile(run_file.into()))
    }

    /// To the run of this migration in this folder: the spec's.
    #[must_use]
    pub fn in_folder(migration: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        let migration = migration.into();
        let path = RunFile::path_of(&folder.into(), &migration);
        Self::to_run(migration, path)
    }

    /// To any of these replicas, all of which take this token.
    #[must_use]
    pub fn to_addresses<A: Into<String>>(
        migration: impl Into<String>,
        addresses: impl IntoIterator<Item = A>,
        token: Secret,
    ) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self::new(migration, Source::Addresses { addresses, token })
    }

    /// What the instance is called, as people see it; each start adds something of its own, so that no identity comes
    /// twice. Letters, digits, `-`, `_` and `.`; others become `-`. Default: `instance-` and the process's number.
    #[must_use]
    pub fn instance(mut self, name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        self.instance = name.chars().take(64).map(plain).collect();
        self
    }

    /// Where the instance keeps its identity and its step, so that it can start while the control plane is away. Each
    /// instance has its own, on a volume that outlives the process.
    #[must_use]
    pub fn step_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.step_file = Some(path.into());
        self
    }

    /// How often evidence is told. Default: every 5 seconds.
    #[must_use]
    pub const fn evidence_every(mut self, every: Duration) -> Self {
        self.evidence_every = every;
        self
    }

    /// Takes part. `configure` is given the library's builder, with what the spec says to instances already set (as far as
    /// the control plane answers), and says the rest: mirror, shadow calls, routes, redaction.
    ///
    /// Started while the control plane is away it has only what `configure` says: say `write_lifetime`, `ack` and routes
    /// there if they aren't the defaults; mismatches are then kept without any values.
    ///
    /// With a step file that the control plane still counts (or that it can't be asked about), the instance goes on as the
    /// one that the file names; else it registers.
    ///
    /// # Errors
    /// [`ClientError::RefusesToGuess`] without a step file while the control plane is away; what the control plane says;
    /// [`ClientError::StepFile`] for a file that isn't as it was written; [`ClientError::NoRuntime`]. Dropped half-way, an
    /// instance may be registered that never runs: it is named by the status, and can be forgotten.
    pub async fn start(
        self,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Migration, Instance), ClientError> {
        let http = Http::new(&self.migration, self.source.clone())?;
        let file = self.step_file.as_ref().map(|path| StepFile::new(path, self.migration.clone()));
        let remembered = file.as_ref().map(StepFile::read).transpose()?.flatten();
        let mut builder = Migration::builder(self.migration.clone());
        if let Some(file) = file {
            builder = builder.step_file(file);
        }
        let started = match remembered {
            Some(remembered) => self.go_on(&http, builder, configure, remembered).await?,
            None => self.register(&http, builder, configure).await?,
        };
        let instance = Instance::begin(http, started.switch, &started.migration, self.evidence_every);
        Ok((started.migration, instance))
    }

    /// As the instance that the file names, unless the control plane says that it isn't counted any more.
    async fn go_on(
        &self,
        http: &Http,
        builder: Builder,
        configure: impl FnOnce(Builder) -> Builder,
        remembered: Remembered,
    ) -> Result<Started, ClientError> {
        let id = remembered.instance.0.clone();
        let path = http.instance_path(&id, "resume");
        let call = Call::post(path, format!("going on as {id}"), WITHIN).repeatable();
        match http.send::<TargetAnswer>(call.json(&Resume { version: remembered.version().0 })?).await {
            Ok(answer) => {
                let builder = configure(told(builder, answer.settings));
                let (migration, switch) = builder.resume(remembered)?;
                // The pulse brings the target with its first answer, counted from its own sending.
                Ok(Started { migration, switch })
            }
            // The file is void, and nothing runs yet: as one that has none.
            Err(error) if error.code() == Some(ErrorCode::UnknownInstance) => {
                tracing::warn!(
                    instance = id,
                    "the step file's instance isn't counted any more: registering anew"
                );
                self.register(http, builder, configure).await
            }
            Err(error) => {
                tracing::warn!(instance = id, %error, "going on from the step file");
                // What mustn't be shown isn't known: nothing is, unless the service says better.
                let hidden = Redact { all: true, ..Redact::default() };
                let (migration, switch) =
                    configure(builder.redaction(redaction(hidden))).resume(remembered)?;
                Ok(Started { migration, switch })
            }
        }
    }

    async fn register(
        &self,
        http: &Http,
        builder: Builder,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Result<Started, ClientError> {
        let id = format!("{}-{}", self.instance, random_suffix()?);
        let refuses = |cause| ClientError::RefusesToGuess { instance: id.clone(), cause: Box::new(cause) };
        let present: TargetAnswer = http
            .send(Call::get(http.path("target"), "asking for the target", WITHIN))
            .await
            .map_err(refuses)?;
        // From here on it is known what the spec says to instances; the clock is the one that leases are counted by.
        let builder = configure(told(builder, present.settings));
        let (target, sent) = self.be_counted(http, &builder, &id, present.target.version).await?;
        let (migration, switch) = builder.register(InstanceId::new(id), target, sent)?;
        Ok(Started { migration, switch })
    }

    /// Registers with the version seen, and again with each newer one. The target that it is counted with, and when the
    /// request was sent that it was the answer to.
    async fn be_counted(
        &self,
        http: &Http,
        builder: &Builder,
        id: &str,
        mut expected: u64,
    ) -> Result<(Target, Millis), ClientError> {
        let doing = format!("registering {id}");
        let mut answer_lost = false;
        for _ in 0..REGISTRATIONS {
            let sent = builder.now();
            let request = Register { instance: id.to_owned(), expected };
            let call = Call::post(http.path("instances"), doing.clone(), WITHIN).json(&request)?;
            let error = match http.send::<TargetAnswer>(call).await {
                Ok(answer) => return Ok((valid(answer, &doing)?, sent)),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::VersionMoved) => expected = moved_to(&error, expected)?,
                // Nobody else has this identity: it was us, and the answer was lost.
                Some(ErrorCode::IdentityTaken) if answer_lost => {
                    return self.ask_again(http, builder, id, expected).await;
                }
                None if matches!(error, ClientError::NoAnswer { .. }) => answer_lost = true,
                _ => return Err(error),
            }
        }
        Err(ClientError::NeverCurrent { instance: id.to_owned(), tries: REGISTRATIONS })
    }

    /// The target for an instance that is counted already and has run nothing: any later one is as good.
    async fn ask_again(
        &self,
        http: &Http,
        builder: &Builder,
        id: &str,
        acked: u64,
    ) -> Result<(Target, Millis), ClientError> {
        let doing = format!("registering {id}");
        let sent = builder.now();
        let call = Call::post(http.instance_path(id, "heartbeat"), doing.clone(), WITHIN).repeatable();
        let answer = http.send(call.json(&Heartbeat { acked, vitals: Vitals::default() })?).await?;
        Ok((valid(answer, &doing)?, sent))
    }
}

/// What the spec says to instances.
fn told(builder: Builder, settings: InstanceSettings) -> Builder {
    let InstanceSettings { write_lifetime_ms, on_silence, ack, routes, redact } = settings;
    let builder = builder
        .write_lifetime(Duration::from_millis(write_lifetime_ms))
        .on_silence(on_silence)
        .ack(ack)
        .redaction(redaction(redact));
    routes.into_iter().fold(builder, |builder, route| {
        let by = route.key_value.map_or(RouteBy::Given, RouteBy::KeyValue);
        builder.route(route.mapping, by)
    })
}

fn redaction(redact: Redact) -> Redaction {
    let mut redaction = Redaction::none().columns(redact.columns);
    if redact.keys || redact.all {
        redaction = redaction.keys();
    }
    if redact.all { redaction.function(|_, _| "(redacted)".to_owned()) } else { redaction }
}

fn valid(answer: TargetAnswer, doing: &str) -> Result<Target, ClientError> {
    Target::try_from(answer.target).map_err(|invalid| ClientError::Garbled {
        doing: doing.to_owned(),
        address: "the control plane".to_owned(),
        problem: invalid.to_string(),
    })
}

/// The version that the refusal's details name.
fn moved_to(error: &ClientError, expected: u64) -> Result<u64, ClientError> {
    let details = error.wire().and_then(|wire| wire.details.as_ref());
    let version = details.and_then(|details| details.get("target")?.get("version")?.as_u64());
    version.filter(|&version| version != expected).ok_or_else(|| ClientError::Garbled {
        doing: "registering".to_owned(),
        address: "the control plane".to_owned(),
        problem: "it says that the version moved, and not to which".to_owned(),
    })
}

fn random_suffix() -> Result<String, ClientError> {
    let mut bytes = [0_u8; 5];
    getrandom::fill(&mut bytes).map_err(|cause| ClientError::Machine {
        doing: "asking the operating system for random numbers",
        cause: cause.to_string(),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
