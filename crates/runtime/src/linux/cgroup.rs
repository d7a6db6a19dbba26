//! Limits and accounts: control groups of either version behind one trait.
//!
//! The tree is `<hierarchy>/cumulo/<server>/<sandbox>`. A server holds a lock on its directory; a directory nobody holds belongs to a
//! dead server, and is emptied and removed by the next one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::process::resident;
use crate::{Limits, Stats};

/// Our part of each hierarchy.
const OURS: &str = "cumulo";

/// How long a killed process may take to leave its group.
const PATIENCE: Duration = Duration::from_secs(10);

const V1_CONTROLLERS: &[&str] = &["memory", "cpu", "cpuacct", "pids", "freezer"];
const V2_CONTROLLERS: &[&str] = &["memory", "cpu", "pids"];

/// The group of one sandbox.
pub(crate) trait Cgroup: Send + Sync + std::fmt::Debug {
    /// Files that take the process which writes "0" into them into the group.
    fn entries(&self) -> io::Result<Vec<OwnedFd>>;
    /// A file, and what to write into it to let frozen processes run.
    fn thaw_file(&self) -> io::Result<(OwnedFd, &'static str)>;
    /// Stops or continues all processes; returns when they have stopped.
    fn set_frozen(&self, frozen: bool) -> io::Result<()>;
    /// Changes the processor limit, in cores.
    fn limit_cpu(&self, cpu: f64) -> io::Result<()>;
    /// Bytes of memory that belong to no file.
    fn private_memory(&self) -> io::Result<u64>;
    /// What the processes use and used.
    fn stats(&self) -> io::Result<Stats>;
    /// Starts measuring the memory peak anew.
    fn reset_memory_peak(&self) -> io::Result<()>;
    /// Kills whoever is left inside and removes the group.
    fn remove(&self) -> io::Result<()>;
}

/// The version in use and where it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The part of the tree that belongs to this server.
#[derive(Debug)]
pub(crate) struct Tree {
    version: Version,
    /// One directory per hierarchy, with the controller's name.
    places: Vec<(&'static str, PathBuf)>,
    _lock: Flock<File>,
}

impl Tree {
    /// Finds the hierarchies, removes what dead servers left and makes this server's part. The error says what is missing.
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let (version, hierarchies) = hierarchies(
            &fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?,
        )?;
        for (_, hierarchy) in &hierarchies {
            let ours = hierarchy.join(OURS);
            fs::create_dir_all(&ours).map_err(|error| format!("{}: {error}", ours.display()))?;
            if version == Version::V2 {
                delegate(hierarchy)?;
                delegate(&ours)?;
            }
        }
        // One server at a time sweeps and makes its part: between its making and its locking a part looks like a dead server's.
        let turn = File::open(hierarchies[0].1.join(OURS)).map_err(|error| error.to_string())?;
        let _turn = Flock::lock(turn, FlockArg::LockExclusive)
            .map_err(|(_, error)| format!("cgroup lock: {error}"))?;
        sweep(&hierarchies);
        let places: Vec<_> = hierarchies
            .iter()
            .map(|(controller, hierarchy)| (*controller, hierarchy.join(OURS).join(name)))
            .collect();
        for (_, place) in &places {
            fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
            if version == Version::V2 {
                delegate(place)?;
            }
        }
        let lock = File::open(&places[0].1).map_err(|error| error.to_string())?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| format!("cgroup lock: {error}"))?;
        Ok(Self {
            version,
            places,
            _lock: lock,
        })
    }

    /// Makes the group of one sandbox.
    pub(crate) fn create(&self, name: &str, limits: &Limits) -> io::Result<Box<dyn Cgroup>> {
        let places: Vec<_> = self
            .places
            .iter()
            .map(|(controller, place)| (*controller, place.join(name)))
            .collect();
        let group: Box<dyn Cgroup> = match self.version {
            Version::V1 => Box::new(V1 { places }),
            Version::V2 => Box::new(V2 {
                place: places[0].1.clone(),
            }),
        };
        let made = match self.version {
            Version::V1 => V1::make(&self.places, name, limits),
            Version::V2 => V2::make(&self.places[0].1.join(name), limits),
        };
        if let Err(error) = made {
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for (_, place) in &self.places {
            let _ = fs::remove_dir(place);
        }
    }
}

type Places = Vec<(&'static str, PathBuf)>;

fn hierarchies(mountinfo: &str) -> Result<(Version, Places), String> {
    let mut first = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else {
            continue;
        };
        let Some(place) = front.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut back = back.split(' ');
        match back.next() {
            Some("cgroup") => {
                let options = back.nth(1).unwrap_or_default();
                for controller in V1_CONTROLLERS
                    .iter()
                    .filter(|name| options.split(',').any(|option| option == **name))
                {
                    if !first.iter().any(|(known, _)| known == controller) {
                        first.push((*controller, place.clone()));
                    }
                }
            }
            Some("cgroup2") => unified = Some(place),
            _ => {}
        }
    }
    if first.len() == V1_CONTROLLERS.len() {
        // Two controllers may share a hierarchy (cpu,cpuacct): one group serves both.
        first.sort_by_key(|(controller, _)| {
            V1_CONTROLLERS.iter().position(|known| known == controller)
        });
        return Ok((Version::V1, first));
    }
    let unified = unified.ok_or("no cgroup file system is mounted")?;
    let there = fs::read_to_string(unified.join("cgroup.controllers"))
        .map_err(|error| error.to_string())?;
    match V2_CONTROLLERS
        .iter()
        .find(|name| !there.split_whitespace().any(|found| found == **name))
    {
        Some(missing) => Err(format!("the cgroup controller {missing} is missing")),
        None => Ok((Version::V2, vec![("unified", unified)])),
    }
}

fn delegate(place: &Path) -> Result<(), String> {
    let words = V2_CONTROLLERS
        .iter()
        .map(|name| format!("+{name}"))
        .collect::<Vec<_>>()
        .join(" ");
    let file = place.join("cgroup.subtree_control");
    fs::write(&file, words).map_err(|error| format!("{}: {error}", file.display()))
}

/// Removes what servers that are gone have left.
fn sweep(hierarchies: &[(&'static str, PathBuf)]) {
    let Some((_, first)) = hierarchies.first() else {
        return;
    };
    let mut names: Vec<_> = Vec::new();
    for (_, hierarchy) in hierarchies {
        names.extend(
            fs::read_dir(hierarchy.join(OURS))
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name()),
        );
    }
    names.sort();
    names.dedup();
    for name in names {
        let held = File::open(first.join(OURS).join(&name)).is_ok_and(|directory| {
            Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_err()
        });
        if held {
            continue;
        }
        tracing::info!(server = %name.to_string_lossy(), "removing the cgroups of a server that is gone");
        for (_, hierarchy) in hierarchies.iter().rev() {
            let place = hierarchy.join(OURS).join(&name);
            for group in fs::read_dir(&place)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
            {
                let group = group.path();
                let _ = fs::write(group.join("freezer.state"), "THAWED");
                let _ = fs::write(group.join("cgroup.freeze"), "0");
                if let Err(error) = empty_and_remove(&group) {
                    tracing::warn!(group = %group.display(), %error, "a stale cgroup stays");
                }
            }
            let _ = fs::remove_dir(&place);
        }
    }
}

fn kill_all(place: &Path) {
    for pid in fs::read_to_string(place.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
    {
        // "0" would mean ourselves: it stands for a process this pid namespace cannot see.
        if pid > 0 {
            // SAFETY: plain numbers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

fn empty_and_remove(place: &Path) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(place) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => kill_all(place),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn number(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// A value of a file of "key value" lines.
fn keyed(path: &Path, key: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let mut values = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(found, _)| *found == key);
    values
        .next()
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The most that the processes had in memory at once: what the largest had, or all together were charged with beside the files it shows.
fn resident_peak(processes: &Path, charged: u64) -> u64 {
    let pids = fs::read_to_string(processes).unwrap_or_default();
    let largest = pids
        .lines()
        .filter_map(|line| resident(line.parse().ok().filter(|pid| *pid > 0)?))
        .max_by_key(|process| process.peak)
        .unwrap_or_default();
    largest.peak.max(charged + largest.files)
}

fn open_write(path: &Path) -> io::Result<OwnedFd> {
    Ok(File::options().write(true).open(path)?.into())
}

/// Quota in microseconds per period of 100 ms; the kernel refuses less than 1 ms.
fn quota(cpu: f64) -> u64 {
    ((cpu * 100_000.0) as u64).max(1000)
}

#[derive(Debug)]
struct V1 {
    places: Vec<(&'static str, PathBuf)>,
}

impl V1 {
    fn make(parents: &[(&'static str, PathBuf)], name: &str, limits: &Limits) -> io::Result<()> {
        for (controller, parent) in parents {
            let place = parent.join(name);
            match fs::create_dir(&place) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            match *controller {
                "memory" => {
                    if let Some(bytes) = limits.memory_bytes {
                        fs::write(place.join("memory.limit_in_bytes"), bytes.to_string())?;
                        // Absent where swap is not accounted.
                        let _ =
                            fs::write(place.join("memory.memsw.limit_in_bytes"), bytes.to_string());
                    }
                }
                "cpu" => {
                    if let Some(cpu) = limits.cpu {
                        fs::write(place.join("cpu.cfs_period_us"), "100000")?;
                        fs::write(place.join("cpu.cfs_quota_us"), quota(cpu).to_string())?;
                    }
                }
                "pids" => {
                    if let Some(pids) = limits.pids {
                        fs::write(place.join("pids.max"), pids.to_string())?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, controller: &str, file: &str) -> PathBuf {
        self.places
            .iter()
            .find(|(name, _)| *name == controller)
            .map(|(_, place)| place.join(file))
            .unwrap_or_default()
    }
}

impl Cgroup for V1 {
    fn entries(&self) -> io::Result<Vec<OwnedFd>> {
        // A lone thread that moves itself by `tasks` spares the kernel the wait that `cgroup.procs` costs, 5 ms and more.
        self.places
            .iter()
            .map(|(_, place)| open_write(&place.join("tasks")))
            .collect()
    }

    fn thaw_file(&self) -> io::Result<(OwnedFd, &'static str)> {
        Ok((
            open_write(&self.file("freezer", "freezer.state"))?,
            "THAWED",
        ))
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let word = if frozen { "FROZEN" } else { "THAWED" };
        let file = self.file("freezer", "freezer.state");
        let end = Instant::now() + PATIENCE;
        fs::write(&file, word)?;
        // Freezing goes on in the background while processes are on their way out of the kernel.
        while fs::read_to_string(&file)?.trim() != word {
            if Instant::now() > end {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            std::thread::sleep(Duration::from_micros(200));
            fs::write(&file, word)?;
        }
        Ok(())
    }

    fn limit_cpu(&self, cpu: f64) -> io::Result<()> {
        fs::write(self.file("cpu", "cpu.cfs_period_us"), "100000")?;
        fs::write(self.file("cpu", "cpu.cfs_quota_us"), quota(cpu).to_string())
    }

    fn private_memory(&self) -> io::Result<u64> {
        keyed(&self.file("memory", "memory.stat"), "rss")
    }

    fn stats(&self) -> io::Result<Stats> {
        let memory_peak_bytes = number(&self.file("memory", "memory.max_usage_in_bytes"))?;
        let cached = keyed(&self.file("memory", "memory.stat"), "cache")?;
        Ok(Stats {
            memory_current: number(&self.file("memory", "memory.usage_in_bytes"))?,
            memory_peak_bytes,
            resident_peak_bytes: resident_peak(
                &self.file("memory", "cgroup.procs"),
                memory_peak_bytes.saturating_sub(cached),
            ),
            cpu_time: Duration::from_nanos(number(&self.file("cpuacct", "cpuacct.usage"))?),
            throttled_periods: keyed(&self.file("cpu", "cpu.stat"), "nr_throttled")?,
            pids: number(&self.file("pids", "pids.current"))?,
            oom_kills: keyed(&self.file("memory", "memory.oom_control"), "oom_kill")?,
        })
    }

    fn reset_memory_peak(&self) -> io::Result<()> {
        fs::write(self.file("memory", "memory.max_usage_in_bytes"), "0")
    }

    fn remove(&self) -> io::Result<()> {
        // The freezer is last in the list and comes first here: nothing frozen can be killed.
        let _ = fs::write(self.file("freezer", "freezer.state"), "THAWED");
        self.places
            .iter()
            .rev()
            .try_for_each(|(_, place)| empty_and_remove(place))
    }
}

#[derive(Debug)]
struct V2 {
    place: PathBuf,
}

impl V2 {
    fn make(place: &Path, limits: &Limits) -> io::Result<()> {
        fs::create_dir(place)?;
        if let Some(bytes) = limits.memory_bytes {
            fs::write(place.join("memory.max"), bytes.to_string())?;
            // Absent where swap is not accounted.
            let _ = fs::write(place.join("memory.swap.max"), "0");
        }
        if let Some(cpu) = limits.cpu {
            fs::write(place.join("cpu.max"), format!("{} 100000", quota(cpu)))?;
        }
        if let Some(pids) = limits.pids {
            fs::write(place.join("pids.max"), pids.to_string())?;
        }
        Ok(())
    }
}

impl Cgroup for V2 {
    fn entries(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![open_write(&self.place.join("cgroup.procs"))?])
    }

    fn thaw_file(&self) -> io::Result<(OwnedFd, &'static str)> {
        Ok((open_write(&self.place.join("cgroup.freeze"))?, "0"))
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let wanted = u64::from(frozen);
        fs::write(self.place.join("cgroup.freeze"), wanted.to_string())?;
        let end = Instant::now() + PATIENCE;
        while keyed(&self.place.join("cgroup.events"), "frozen")? != wanted {
            if Instant::now() > end {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn limit_cpu(&self, cpu: f64) -> io::Result<()> {
        fs::write(self.place.join("cpu.max"), format!("{} 100000", quota(cpu)))
    }

    fn private_memory(&self) -> io::Result<u64> {
        keyed(&self.place.join("memory.stat"), "anon")
    }

    fn stats(&self) -> io::Result<Stats> {
        let memory_current = number(&self.place.join("memory.current"))?;
        // The peak came with kernel 5.19.
        let memory_peak_bytes = number(&self.place.join("memory.peak")).unwrap_or(memory_current);
        // What lies in memory file systems is a part of it.
        let cached = keyed(&self.place.join("memory.stat"), "file")?;
        Ok(Stats {
            memory_current,
            memory_peak_bytes,
            resident_peak_bytes: resident_peak(
                &self.place.join("cgroup.procs"),
                memory_peak_bytes.saturating_sub(cached),
            ),
            cpu_time: Duration::from_micros(keyed(&self.place.join("cpu.stat"), "usage_usec")?),
            throttled_periods: keyed(&self.place.join("cpu.stat"), "nr_throttled").unwrap_or(0),
            pids: number(&self.place.join("pids.current"))?,
            oom_kills: keyed(&self.place.join("memory.events"), "oom_kill")?,
        })
    }

    fn reset_memory_peak(&self) -> io::Result<()> {
        // A reset counts for the descriptor it was written through only, so it would not be seen by the next reading.
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn remove(&self) -> io::Result<()> {
        // From kernel 5.14, and only a help: what follows kills one by one.
        let _ = File::options()
            .write(true)
            .open(self.place.join("cgroup.kill"))
            .and_then(|mut file| file.write_all(b"1"));
        let _ = fs::write(self.place.join("cgroup.freeze"), "0");
        empty_and_remove(&self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_version_hierarchies_are_found_also_when_two_controllers_share_one() {
        let table = "1 0 0:1 / /c/memory rw - cgroup cgroup rw,memory\n\
                     2 0 0:2 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                     3 0 0:3 / /c/pids rw - cgroup cgroup rw,pids\n\
                     4 0 0:4 / /c/freezer rw - cgroup cgroup rw,freezer\n\
                     5 0 0:5 / /c/unified rw - cgroup2 cgroup2 rw\n";
        let (version, found) = hierarchies(table).unwrap();
        assert_eq!(version, Version::V1);
        assert_eq!(found[1], ("cpu", PathBuf::from("/c/cpu")));
        assert_eq!(found[2], ("cpuacct", PathBuf::from("/c/cpu")));
    }

    #[test]
    fn a_host_without_cgroups_is_told_so() {
        assert_eq!(
            hierarchies("").unwrap_err(),
            "no cgroup file system is mounted"
        );
    }
}
