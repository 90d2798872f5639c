//! Where groups could be made: what the kernel says of its mounts and of this process.

use super::{error::ControlGroupsError, group::Hierarchy};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The places to try, the best first.
pub(super) fn candidates() -> Result<Vec<Hierarchy>, ControlGroupsError> {
    let read =
        |file| fs::read_to_string(file).map_err(|error| ControlGroupsError::NotMounted { mounts: format!("{file}: {error}") });
    let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    let found = places(&mounts, &own);
    if found.is_empty() { Err(ControlGroupsError::NotMounted { mounts: describe(&mounts) }) } else { Ok(found) }
}

/// One line of `mountinfo`. See proc_pid_mountinfo(5).
struct Mount {
    /// The folder of the hierarchy that is mounted.
    root: PathBuf,
    at: PathBuf,
    kind: String,
    /// Of version 1: its controllers are among them.
    options: String,
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (unescape(mount.next()?), unescape(mount.next()?));
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?.to_owned(), filesystem.nth(1)?.to_owned());
        Some(Mount { root, at, kind, options })
    })
}

/// Spaces, tabs, line feeds and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut unescaped = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        let digits = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        unescaped.push_str(before);
        unescaped.push(digits.map_or('\\', char::from));
        rest = if digits.is_some() { &after[3..] } else { after };
    }
    unescaped.push_str(rest);
    unescaped.into()
}

/// Version 1 where it has both controllers: then version 2 has neither.
fn places(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mounts(mountinfo).collect();
    let v1 = |controller: &str| {
        let has_it = |list: &str| list.split(',').any(|name| name == controller);
        let mount = mounts.iter().find(|mount| mount.kind == "cgroup" && has_it(&mount.options))?;
        Some(folder(mount, path_of(own, has_it)?))
    };
    if let (Some(cpu), Some(memory)) = (v1("cpu"), v1("memory")) {
        return vec![Hierarchy::V1 { cpu, memory }];
    }
    let Some(mount) = mounts.iter().find(|mount| mount.kind == "cgroup2") else { return Vec::new() };
    let Some(path) = path_of(own, str::is_empty) else { return Vec::new() };
    let own = folder(mount, path);
    let within = own.ancestors().take_while(|folder| folder.starts_with(&mount.at));
    // Its own group first: a group below it is limited by what limits it. It hands nothing on as long as it has processes, so its ancestors follow.
    within.filter(|parent| has_controllers(parent)).map(|parent| Hierarchy::V2 { parent: parent.to_owned() }).collect()
}

fn has_controllers(group: &Path) -> bool {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    ["cpu", "memory"].into_iter().all(|wanted| controllers.split_ascii_whitespace().any(|name| name == wanted))
}

/// The group of this process in the hierarchy whose controllers fit. A line is `number:controllers:path`.
fn path_of(own: &str, fits: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next().filter(|controllers| fits(controllers))?;
        parts.next()
    })
}

/// The folder of a path of the hierarchy. A path outside of the mount, as in a container, is the mount itself.
fn folder(mount: &Mount, path: &str) -> PathBuf {
    let inside = Path::new(path).strip_prefix(&mount.root).ok();
    inside.map(|path| mount.at.join(path)).filter(|folder| folder.is_dir()).unwrap_or_else(|| mount.at.clone())
}

fn describe(mountinfo: &str) -> String {
    let found = mounts(mountinfo).filter(|mount| mount.kind.starts_with("cgroup"));
    let found: Vec<String> =
        found.map(|mount| format!("{} at {} with {}", mount.kind, mount.at.display(), mount.options)).collect();
    if found.is_empty() { "none at all".to_owned() } else { found.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::{describe, places, unescape};
    use crate::control_groups::group::Hierarchy;
    use std::{fs, path::PathBuf};

    const ROOT: &str = "24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";

    /// A folder in place of `/sys/fs/cgroup`, with these groups in it.
    fn root(name: &str, groups: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("control-groups-{}-find-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for group in groups {
            fs::create_dir_all(root.join(group)).expect("a folder");
        }
        root
    }

    #[test]
    fn version_1_is_where_each_controller_has_this_process() {
        let root = root("v1", &["cpu/a", "memory/api/7"]);
        let at = root.display();
        let mounts = format!(
            "{ROOT}31 24 0:27 / {at}/cpuset rw - cgroup cgroup rw,cpuset\n32 24 0:28 / {at}/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             33 24 0:29 / {at}/memory rw - cgroup cgroup rw,memory\n34 24 0:30 / {at}/unified rw - cgroup2 cgroup2 rw\n"
        );
        let own = "4:memory:/api/7\n3:cpuset:/\n1:cpu,cpuacct:/a\n0::/\n";
        let expected = Hierarchy::V1 { cpu: root.join("cpu/a"), memory: root.join("memory/api/7") };
        assert_eq!(places(&mounts, own), [expected]);
        fs::remove_dir_all(root).expect("a folder");
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_hierarchy() {
        let root = root("container", &["cpu", "memory/inner"]);
        let at = root.display();
        let mounts = format!(
            "32 24 0:28 /docker/1f {at}/cpu ro - cgroup cgroup rw,cpu\n33 24 0:29 /docker/1f {at}/memory ro - cgroup cgroup rw,memory\n"
        );
        let own = "4:memory:/docker/1f/inner\n1:cpu:/docker/2e\n";
        let expected = Hierarchy::V1 { cpu: root.join("cpu"), memory: root.join("memory/inner") };
        assert_eq!(places(&mounts, own), [expected]);
        fs::remove_dir_all(root).expect("a folder");
    }

    #[test]
    fn version_2_tries_the_own_group_and_then_its_ancestors() {
        let root = root("v2", &["user.slice/app.slice/run.scope"]);
        let groups = ["", "user.slice", "user.slice/app.slice", "user.slice/app.slice/run.scope"].map(|group| root.join(group));
        for (group, controllers) in
            groups.iter().zip(["cpuset cpu io memory pids", "cpu memory", "memory pids", "cpu memory pids"])
        {
            fs::write(group.join("cgroup.controllers"), controllers).expect("a file");
        }
        let mounts = format!("{ROOT}34 24 0:30 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", root.display());
        let found = places(&mounts, "0::/user.slice/app.slice/run.scope\n");
        // `app.slice` has no `cpu` to hand on.
        let expected = [&groups[3], &groups[1], &groups[0]].map(|parent| Hierarchy::V2 { parent: parent.components().collect() });
        assert_eq!(found, expected);
        fs::remove_dir_all(root).expect("a folder");
    }

    #[test]
    fn without_both_controllers_there_is_no_place() {
        let root = root("none", &["cpu", "unified"]);
        fs::write(root.join("unified/cgroup.controllers"), "hugetlb").expect("a file");
        let at = root.display();
        let mounts =
            format!("32 24 0:28 / {at}/cpu rw - cgroup cgroup rw,cpu\n34 24 0:30 / {at}/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(places(&mounts, "1:cpu:/\n0::/\n"), []);
        assert_eq!(places(ROOT, ""), []);
        assert_eq!(describe(ROOT), "none at all");
        let found = describe(&mounts);
        assert!(found.contains("cgroup at") && found.contains("cgroup2 at"), "{found}");
        fs::remove_dir_all(root).expect("a folder");
    }

    #[test]
    fn a_path_with_a_space_is_read() {
        assert_eq!(unescape(r"/mnt/my\040groups\134x"), PathBuf::from(r"/mnt/my groups\x"));
        assert_eq!(unescape(r"/mnt/odd\9"), PathBuf::from(r"/mnt/odd\9"));
    }
}
