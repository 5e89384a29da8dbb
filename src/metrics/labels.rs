//! The closed sets of label values: a metric's labels never hold a text from outside.

/// A set of words for one label.
pub trait Label: Copy + 'static {
    /// Every value; each is a series from the start.
    const ALL: &'static [Self];
    /// The label's value.
    fn word(self) -> &'static str;
    /// The value of that word.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

label! {
    /// A loop of the daemon.
    Controller {
        /// Converges the stacks.
        Stack = "stack",
        /// Loads the files.
        Config = "config",
    }
}

label! {
    /// How a reconcile ended, in controller-runtime's words.
    ReconcileResult {
        /// Nothing left to do.
        Success = "success",
        /// Failed; tried again with backoff.
        Error = "error",
        /// Looks again at once.
        Requeue = "requeue",
        /// Looks again later (waits for readiness, backoff).
        RequeueAfter = "requeue_after",
    }
}

label! {
    /// How an update of a service's container ended.
    UpdateResult {
        /// The new container is ready.
        Succeeded = "succeeded",
        /// The old container serves again.
        RolledBack = "rolled_back",
        /// Neither runs until a person has decided.
        NeedsPerson = "needs_person",
    }
}

label! {
    /// A write to the engine.
    Action {
        /// `POST /containers/create`.
        CreateContainer = "create_container",
        /// `POST /containers/{id}/start`.
        StartContainer = "start_container",
        /// `POST /containers/{id}/stop`.
        StopContainer = "stop_container",
        /// `POST /containers/{id}/restart`.
        RestartContainer = "restart_container",
        /// `POST /containers/{id}/unpause`.
        UnpauseContainer = "unpause_container",
        /// `POST /containers/{id}/rename`.
        RenameContainer = "rename_container",
        /// `DELETE /containers/{id}`.
        RemoveContainer = "remove_container",
        /// `POST /networks/create`.
        CreateNetwork = "create_network",
        /// `DELETE /networks/{id}`.
        RemoveNetwork = "remove_network",
        /// `POST /networks/{id}/connect`.
        ConnectNetwork = "connect_network",
        /// `POST /networks/{id}/disconnect`.
        DisconnectNetwork = "disconnect_network",
        /// `POST /volumes/create`.
        CreateVolume = "create_volume",
        /// `POST /images/create`.
        PullImage = "pull_image",
    }
}

label! {
    /// How the engine differs from the files: the kinds of [`crate::plan::Cause`].
    Drift {
        /// Something wanted is absent.
        Missing = "missing",
        /// A container doesn't run.
        Down = "down",
        /// The configuration hash differs.
        Config = "config",
        /// The image's ID differs.
        Image = "image",
        /// What it shares or depends on was replaced or restarted.
        Dependency = "dependency",
        /// A container isn't attached as it should be.
        Network = "network",
        /// A container doesn't serve.
        Unhealthy = "unhealthy",
        /// Orphans, duplicates, leftovers.
        Surplus = "surplus",
    }
}

label! {
    /// A call to the engine.
    EngineCall {
        /// `GET /_ping`.
        Ping = "ping",
        /// `GET /info`.
        Info = "info",
        /// `GET /containers/json`.
        ListContainers = "list_containers",
        /// `GET /networks`.
        ListNetworks = "list_networks",
        /// `GET /volumes`.
        ListVolumes = "list_volumes",
        /// `GET /images/json`.
        ListImages = "list_images",
        /// `GET /containers/{id}/json`.
        InspectContainer = "inspect_container",
        /// `GET /networks/{id}`.
        InspectNetwork = "inspect_network",
        /// `GET /events`.
        Events = "events",
        /// `GET /containers/{id}/logs`.
        Logs = "logs",
        /// `POST /images/create`.
        Pull = "pull",
        /// `POST /containers/{id}/exec` and the start of it.
        Exec = "exec",
        /// Any write.
        Write = "write",
    }
}

label! {
    /// How a call or a load ended.
    CallResult {
        /// Answered as asked.
        Success = "success",
        /// Failed; see `homeostat_engine_faults_total` for why.
        Error = "error",
    }
}

label! {
    /// A [`crate::engine::Fault`], by its reason.
    FaultReason {
        /// Nobody answers.
        EngineUnreachable = "EngineUnreachable",
        /// The socket isn't ours to open.
        SocketPermission = "SocketPermission",
        /// 401 or 403.
        PermissionMissing = "PermissionMissing",
        /// 404.
        NotFound = "NotFound",
        /// 409.
        Conflict = "Conflict",
        /// Another 4xx.
        Rejected = "Rejected",
        /// 5xx.
        EngineError = "EngineError",
        /// No answer in time.
        Timeout = "Timeout",
        /// The connection broke.
        Interrupted = "Interrupted",
        /// Not what the API promises.
        Garbage = "Garbage",
        /// More than we read.
        TooLarge = "TooLarge",
        /// The engine is too old.
        EngineTooOld = "EngineTooOld",
        /// The tier doesn't allow it.
        TierForbids = "TierForbids",
        /// The address is unusable.
        BadEndpoint = "BadEndpoint",
    }
}

label! {
    /// What a probe answered.
    ProbeAnswer {
        /// Serves.
        Ready = "ready",
        /// Doesn't.
        NotReady = "not_ready",
        /// Nobody can tell.
        Unknown = "unknown",
    }
}

label! {
    /// What came of an attempt of a recovery.
    AttemptOutcome {
        /// The service stayed Ready.
        Succeeded = "succeeded",
        /// It didn't become Ready, or fell again.
        Failed = "failed",
        /// It never ran, or somebody ended it.
        Withdrawn = "withdrawn",
    }
}

impl Label for crate::recovery::Scenario {
    const ALL: &'static [Self] = &Self::ALL;
    fn word(self) -> &'static str {
        self.word()
    }
}

impl From<crate::probe::Answer> for ProbeAnswer {
    fn from(answer: crate::probe::Answer) -> Self {
        match answer {
            crate::probe::Answer::Ready => Self::Ready,
            crate::probe::Answer::NotReady => Self::NotReady,
            crate::probe::Answer::Unknown => Self::Unknown,
        }
    }
}

impl Label for crate::store::Completion {
    const ALL: &'static [Self] = &Self::ALL;
    fn word(self) -> &'static str {
        self.as_str()
    }
}
