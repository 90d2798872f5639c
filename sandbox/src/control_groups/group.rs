//! Files of control groups: which value goes where, in both versions.

use super::share::CpuQuota;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// More groups of one process id than this are not left over from killed sandboxes.
const NAMES_TRIED: u64 = 10_000;

static CREATED: AtomicU64 = AtomicU64::new(0);

/// A failed operation on a control group.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
#[non_exhaustive]
pub struct GroupError {
    /// The operation.
    pub action: String,
    /// To which file or folder.
    pub path: PathBuf,
    /// The error of the kernel.
    pub source: io::Error,
}

/// Where groups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// A folder for each controller; they may be the same.
    V1 {
        cpu: PathBuf,
        memory: PathBuf,
    },
    V2 {
        parent: PathBuf,
    },
}

impl Hierarchy {
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        match self {
            Self::V1 { cpu, memory } if cpu == memory => vec![cpu.clone()],
            Self::V1 { cpu, memory } => vec![cpu.clone(), memory.clone()],
            Self::V2 { parent } => vec![parent.clone()],
        }
    }

    /// A new group, without a limit and without a process.
    pub(super) fn create(&self) -> Result<Group, GroupError> {
        self.delegate()?;
        let folders = self.folders();
        for _ in 0..NAMES_TRIED {
            let name = format!("lambda-sandbox-{}-{}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
            let mut group = Group { hierarchy: self.of_group(&name), folders: Vec::new() };
            let mut taken = false;
            for folder in folders.iter().map(|folder| folder.join(&name)) {
                match fs::create_dir(&folder) {
                    Ok(()) => group.folders.push(folder),
                    // Of a killed sandbox, or of one in another namespace of process ids.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = true,
                    Err(source) => {
                        group.remove();
                        return Err(GroupError { action: "make".to_owned(), path: folder, source });
                    }
                }
            }
            if !taken {
                return Ok(group);
            }
            group.remove();
        }
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "every name is taken");
        Err(GroupError { action: "make a group in".to_owned(), path: folders[0].clone(), source })
    }

    /// With version 2, a group has the controllers that its parent hands on. A parent that has processes cannot, unless it is the root.
    fn delegate(&self) -> Result<(), GroupError> {
        let Self::V2 { parent } = self else { return Ok(()) };
        let path = parent.join("cgroup.subtree_control");
        let handed_on = fs::read_to_string(&path).unwrap_or_default();
        let missing = ["cpu", "memory"].into_iter().filter(|name| !handed_on.split_ascii_whitespace().any(|has| has == *name));
        let wanted: Vec<String> = missing.map(|name| format!("+{name}")).collect();
        if wanted.is_empty() { Ok(()) } else { write(&path, &wanted.join(" ")) }
    }

    fn of_group(&self, name: &str) -> Self {
        match self {
            Self::V1 { cpu, memory } => Self::V1 { cpu: cpu.join(name), memory: memory.join(name) },
            Self::V2 { parent } => Self::V2 { parent: parent.join(name) },
        }
    }
}

/// A control group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its own folders, by controller.
    hierarchy: Hierarchy,
    /// Those that were made and are not removed.
    folders: Vec<PathBuf>,
}

impl Group {
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Limits the memory, and takes swap space away: Lambda has none.
    pub(crate) fn limit_memory(&self, bytes: u64) -> Result<(), GroupError> {
        let bytes = bytes.to_string();
        let (limit, swap, without) = match &self.hierarchy {
            Hierarchy::V1 { memory, .. } => {
                (memory.join("memory.limit_in_bytes"), memory.join("memory.memsw.limit_in_bytes"), &*bytes)
            }
            Hierarchy::V2 { parent } => (parent.join("memory.max"), parent.join("memory.swap.max"), "0"),
        };
        write(&limit, &bytes)?;
        // There only where the kernel accounts for swap space.
        if swap.exists() { write(&swap, without) } else { Ok(()) }
    }

    pub(crate) fn limit_cpu(&self, quota: CpuQuota) -> Result<(), GroupError> {
        let (quota, period) = (quota.quota.as_micros(), quota.period.as_micros());
        match &self.hierarchy {
            Hierarchy::V1 { cpu, .. } => {
                write(&cpu.join("cpu.cfs_period_us"), &period.to_string())?;
                write(&cpu.join("cpu.cfs_quota_us"), &quota.to_string())
            }
            Hierarchy::V2 { parent } => write(&parent.join("cpu.max"), &format!("{quota} {period}")),
        }
    }

    fn lift_cpu(&self) -> Result<(), GroupError> {
        match &self.hierarchy {
            Hierarchy::V1 { cpu, .. } => write(&cpu.join("cpu.cfs_quota_us"), "-1"),
            Hierarchy::V2 { parent } => write(&parent.join("cpu.max"), "max"),
        }
    }

    /// Moves a process with all its threads into the group.
    pub(crate) fn add(&self, pid: u32) -> Result<(), GroupError> {
        self.folders.iter().try_for_each(|folder| write(&folder.join("cgroup.procs"), &pid.to_string()))
    }

    /// Whether the kernel has killed a process of the group because of its memory.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let events = match &self.hierarchy {
            Hierarchy::V1 { memory, .. } => memory.join("memory.oom_control"),
            Hierarchy::V2 { parent } => parent.join("memory.events"),
        };
        let events = fs::read_to_string(events).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse().ok()).is_some_and(|count: u64| count > 0)
    }

    /// The processes of the group. A child that left the process group is among them.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let listed = self.folders.iter().filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
        listed.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Lets what is left in the group end at full speed.
    pub(crate) fn release(&self) {
        let _ = self.lift_cpu();
    }

    /// True when nothing of the group is left. A group that has processes stays.
    pub(crate) fn remove(&mut self) -> bool {
        self.folders.retain(|folder| match fs::remove_dir(folder) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        self.folders.is_empty()
    }
}

fn write(path: &Path, value: &str) -> Result<(), GroupError> {
    fs::write(path, value).map_err(|source| GroupError { action: format!("write {value:?} to"), path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::{Group, Hierarchy};
    use crate::control_groups::share::CpuQuota;
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    /// A folder in place of the root of a hierarchy.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("control-groups-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("cpu")).expect("a folder");
            fs::create_dir_all(root.join("memory")).expect("a folder");
            Self(root)
        }

        fn v1(&self) -> Hierarchy {
            Hierarchy::V1 { cpu: self.0.join("cpu"), memory: self.0.join("memory") }
        }

        fn v2(&self) -> Hierarchy {
            Hierarchy::V2 { parent: self.0.clone() }
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(folder: &Path, file: &str) -> Option<String> {
        fs::read_to_string(folder.join(file)).ok()
    }

    fn limited(hierarchy: &Hierarchy, with_swap: &[&str]) -> Group {
        let group = hierarchy.create().expect("a group");
        for file in with_swap {
            fs::write(group.folders().last().expect("a folder").join(file), "max").expect("a file");
        }
        group.limit_memory(128 << 20).expect("memory");
        group.add(4711).expect("a process");
        group
    }

    #[test]
    fn version_1_has_a_folder_for_each_controller() {
        let root = Root::new("v1");
        let group = limited(&root.v1(), &["memory.memsw.limit_in_bytes"]);
        let [cpu, memory] = group.folders() else { panic!("{group:?}") };
        assert!(cpu.starts_with(root.0.join("cpu")) && memory.starts_with(root.0.join("memory")));
        assert_eq!(read(memory, "memory.limit_in_bytes").as_deref(), Some("134217728"));
        assert_eq!(read(memory, "memory.memsw.limit_in_bytes").as_deref(), Some("134217728"));
        for folder in [cpu, memory] {
            assert_eq!(read(folder, "cgroup.procs").as_deref(), Some("4711"));
        }
        assert_eq!(read(cpu, "cpu.cfs_quota_us"), None, "full speed at first");
        group.limit_cpu(CpuQuota::of_memory(128)).expect("CPU time");
        assert_eq!(read(cpu, "cpu.cfs_period_us").as_deref(), Some("20000"));
        assert_eq!(read(cpu, "cpu.cfs_quota_us").as_deref(), Some("1447"));
        group.release();
        assert_eq!(read(cpu, "cpu.cfs_quota_us").as_deref(), Some("-1"));
    }

    #[test]
    fn version_1_with_both_controllers_in_one_folder_has_one_group() {
        let root = Root::new("v1-one");
        let hierarchy = Hierarchy::V1 { cpu: root.0.clone(), memory: root.0.clone() };
        let group = limited(&hierarchy, &[]);
        let [folder] = group.folders() else { panic!("{group:?}") };
        assert_eq!(read(folder, "memory.limit_in_bytes").as_deref(), Some("134217728"));
        assert_eq!(read(folder, "memory.memsw.limit_in_bytes"), None, "not where the kernel has none");
    }

    #[test]
    fn version_2_has_one_folder_and_its_controllers_from_its_parent() {
        let root = Root::new("v2");
        fs::write(root.0.join("cgroup.subtree_control"), "memory pids\n").expect("a file");
        let group = limited(&root.v2(), &["memory.swap.max"]);
        assert_eq!(read(&root.0, "cgroup.subtree_control").as_deref(), Some("+cpu"), "what was missing");
        let [folder] = group.folders() else { panic!("{group:?}") };
        assert_eq!(read(folder, "memory.max").as_deref(), Some("134217728"));
        assert_eq!(read(folder, "memory.swap.max").as_deref(), Some("0"));
        assert_eq!(read(folder, "cgroup.procs").as_deref(), Some("4711"));
        assert_eq!(read(folder, "cpu.max"), None, "full speed at first");
        group.limit_cpu(CpuQuota::of_memory(3_538)).expect("CPU time");
        assert_eq!(read(folder, "cpu.max").as_deref(), Some("40000 20000"));
        group.release();
        assert_eq!(read(folder, "cpu.max").as_deref(), Some("max"));
    }

    #[test]
    fn a_parent_that_hands_on_both_controllers_is_left_as_it_is() {
        let root = Root::new("v2-handed-on");
        fs::write(root.0.join("cgroup.subtree_control"), "cpuset cpu io memory pids\n").expect("a file");
        root.v2().create().expect("a group");
        assert_eq!(read(&root.0, "cgroup.subtree_control").as_deref(), Some("cpuset cpu io memory pids\n"));
    }

    #[test]
    fn a_kill_for_memory_is_read_in_both_versions() {
        let root = Root::new("kills");
        for (hierarchy, file, calm, killed) in [
            (root.v1(), "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "under_oom 0\noom_kill 1\n"),
            (root.v2(), "memory.events", "low 0\nmax 7\noom 0\noom_kill 0\noom_group_kill 0\n", "oom 2\noom_kill 2\n"),
        ] {
            let group = hierarchy.create().expect("a group");
            let events = group.folders().last().expect("a folder").join(file);
            assert!(!group.is_out_of_memory(), "{file}: nothing is known");
            fs::write(&events, calm).expect("a file");
            assert!(!group.is_out_of_memory(), "{file}: {calm}");
            fs::write(&events, killed).expect("a file");
            assert!(group.is_out_of_memory(), "{file}: {killed}");
        }
    }

    #[test]
    fn groups_never_collide() {
        let root = Root::new("names");
        let mut names = BTreeSet::new();
        for hierarchy in [root.v1(), root.v2(), root.v1()] {
            let group = hierarchy.create().expect("a group");
            let name = group.folders()[0].file_name().expect("a name").to_owned();
            // A group of another sandbox that would be next.
            let number: u64 = name.to_string_lossy().rsplit('-').next().expect("a number").parse().expect("a number");
            for taken in number + 1..number + 4 {
                let _ = fs::create_dir_all(root.0.join("memory").join(format!("lambda-sandbox-{}-{taken}", std::process::id())));
            }
            assert!(names.insert(name));
        }
    }

    #[test]
    fn an_error_names_the_action_the_file_and_the_reason() {
        let root = Root::new("errors");
        fs::remove_dir(root.0.join("memory")).expect("a folder");
        let error = root.v1().create().expect_err("no folder for the group");
        assert_eq!((error.action.as_str(), error.source.kind()), ("make", std::io::ErrorKind::NotFound));
        assert!(error.path.starts_with(root.0.join("memory")), "{error}");
        assert_eq!(fs::read_dir(root.0.join("cpu")).expect("a folder").count(), 0, "half a group is left");
    }

    #[test]
    fn a_group_that_has_gone_is_removed() {
        let root = Root::new("removal");
        let mut group = root.v1().create().expect("a group");
        fs::remove_dir(&group.folders()[0]).expect("a folder");
        assert!(group.remove());
        let mut busy = limited(&root.v1(), &[]);
        assert!(!busy.remove(), "it is not empty");
        assert_eq!(busy.processes(), [4711, 4711]);
    }
}
