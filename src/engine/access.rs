//! Which calls to the engine each tier makes: what a socket proxy must let pass, and no more.
//!
//! `docs/engine-endpoints.md` is made from here, and a test keeps it current; another one finds calls
//! in the source that aren't listed; on a real engine a recording proxy fails a test on any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Tier;

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Method and path with placeholders, as in [`Fault::Forbidden`](super::Fault::Forbidden).
    pub call: &'static str,
    /// The least tier that makes it.
    pub tier: Tier,
    /// What for, to people.
    pub purpose: &'static str,
}

const fn reads(call: &'static str, purpose: &'static str) -> Access {
    Access { call, tier: Tier::Observe, purpose }
}

const fn heals(call: &'static str, purpose: &'static str) -> Access {
    Access { call, tier: Tier::Heal, purpose }
}

const fn makes(call: &'static str, purpose: &'static str) -> Access {
    Access { call, tier: Tier::Reconcile, purpose }
}

/// Every call that this program makes.
pub const CALLS: [Access; 27] = [
    reads("GET /_ping", "is it there, and which API versions does it speak"),
    reads("GET /version", "the same, where a proxy forbids the ping"),
    reads("GET /info", "its ID, and what it can do"),
    reads("GET /events", "what happens to containers, networks, volumes and images"),
    reads("GET /containers/json", "all containers"),
    reads("GET /containers/{id}/json", "one container in full"),
    reads("GET /containers/{id}/logs", "`homeostat logs`"),
    reads("GET /networks", "all networks"),
    reads("GET /networks/{id}", "one network in full"),
    reads("GET /volumes", "all volumes, leases included"),
    reads("GET /images/json", "all images"),
    heals("POST /containers/{id}/start", "starts what is down"),
    heals("POST /containers/{id}/stop", "stops what is to be replaced or taken down"),
    heals("POST /containers/{id}/restart", "restarts what doesn't serve"),
    heals(
        "POST /containers/{id}/unpause",
        "lets a frozen container go on, where the policy says so",
    ),
    heals("POST /networks/{id}/connect", "attaches a container with its aliases and addresses"),
    heals("POST /networks/{id}/disconnect", "detaches a container"),
    heals(
        "POST /volumes/create",
        "takes the project's lease; in the tier `reconcile` also makes volumes",
    ),
    heals("DELETE /volumes/{name}", "gives leases back (no other volume is ever removed)"),
    heals(
        "POST /containers/{id}/exec",
        "asks a server by its own client (`valkey-cli PING`), where no address reaches it",
    ),
    heals("POST /exec/{id}/start", "the same"),
    makes("POST /containers/create", "makes a container"),
    makes("POST /containers/{id}/rename", "gives a new container its name"),
    makes("DELETE /containers/{id}", "removes a replaced or unwanted container; its volumes stay"),
    makes("POST /networks/create", "makes a network"),
    makes("DELETE /networks/{id}", "removes a network that is made anew or taken down"),
    makes("POST /images/create", "pulls an image"),
];

/// The calls that a tier makes.
pub fn of(tier: Tier) -> BTreeSet<&'static str> {
    CALLS.iter().filter(|access| access.tier <= tier).map(|access| access.call).collect()
}

/// The published list, in Markdown.
pub fn page() -> String {
    let mut page = "# What homeostat asks of the engine

Made from `src/engine/access.rs`; a test keeps it current. A socket proxy that lets these calls
pass, and no others, is enough for the tier (`--tier`). Paths may carry a version (`/v1.41/…`).
"
    .to_owned();
    let tiers = [
        (Tier::Observe, "reads only: looks, plans and reports"),
        (Tier::Heal, "starts, stops and connects what is there, and holds the project's lease"),
        (Tier::Reconcile, "makes and removes as well: the default"),
    ];
    for (tier, what) in tiers {
        let more = if tier == Tier::Observe { "" } else { " All of the tier before, and:" };
        let _ = write!(page, "\n## `{tier}`\n{what}.{more}\n\n| call | for |\n| --- | --- |\n");
        for access in CALLS.iter().filter(|access| access.tier == tier) {
            let _ = writeln!(page, "| `{}` | {} |", access.call, access.purpose);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn the_published_list_is_this_one() {
        let file = Path::new(ROOT).join("docs/engine-endpoints.md");
        if std::env::var_os("HOMEOSTAT_WRITE_DOCS").is_some() {
            std::fs::write(&file, page()).expect("writes");
        }
        let published = std::fs::read_to_string(file).expect("the page");
        assert_eq!(published, page(), "run this test with HOMEOSTAT_WRITE_DOCS=1");
    }

    /// Sources that are compiled into the program, without their tests.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                sources(&path, found);
            } else if name.ends_with(".rs")
                && !["tests.rs", "fake.rs", "access.rs"].contains(&&*name)
            {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_call_in_the_source_is_listed_and_no_other() {
        let mut files = Vec::new();
        sources(&Path::new(ROOT).join("src/engine/docker"), &mut files);
        files.push(Path::new(ROOT).join("src/engine/types.rs"));
        let mut called = BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(file).expect("a source");
            let text = text.split("#[cfg(test)]\nmod tests {").next().expect("a first part");
            for literal in text.split('"').skip(1).step_by(2) {
                let method = literal.split_once(" /").map(|(method, _)| method);
                if method.is_some_and(|m| ["GET", "POST", "DELETE", "PUT", "HEAD"].contains(&m)) {
                    called.insert(literal.to_owned());
                }
            }
        }
        let listed: BTreeSet<String> = of(Tier::Reconcile).into_iter().map(str::to_owned).collect();
        assert_eq!(called, listed);
    }

    #[test]
    fn each_tier_adds_to_the_one_before() {
        assert!(of(Tier::Observe).iter().all(|call| call.starts_with("GET ")));
        assert!(of(Tier::Observe).is_subset(&of(Tier::Heal)));
        assert!(of(Tier::Heal).is_subset(&of(Tier::Reconcile)));
        assert!(!of(Tier::Heal).contains("POST /containers/create"));
    }
}
