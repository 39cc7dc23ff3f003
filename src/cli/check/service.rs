//! Whether the installed service can read what the checked configuration names. `check` mostly runs as root or as a person, the service
//! as a user of its own, so what `check` could read says nothing about it.
//!
//! Reads the unit and its drop-ins as systemd does (systemd.unit(5), systemd.exec(5)), and the user database. Access control lists are
//! not looked at; that is one reason why all this gives warnings only.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The unit's folders, the one that counts most first (systemd.unit(5)).
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const UNIT: &str = "surplusd.service";
/// Longer files are no units.
const FILE_MAX: u64 = 256 * 1024;

/// A file that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Its key, such as `mqtt.password-file`.
    pub(super) key: &'static str,
    /// Where it was found.
    pub(super) file: PathBuf,
    /// Everybody may read it: it holds no secret.
    pub(super) public: bool,
}

/// What the service could not read, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) key: &'static str,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The installed service, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Service {
    /// The file that decides, or its drop-in.
    unit: PathBuf,
    /// The command line.
    starts: String,
    user: Option<String>,
    dynamic: bool,
    groups: Vec<String>,
    /// `ProtectHome=` hides the folders of people.
    hides_homes: bool,
    /// Names of credentials, with the files they come from where they are named by path.
    credentials: Vec<(String, Option<PathBuf>)>,
}

/// Who the service is.
struct Reader {
    name: String,
    /// `None`: a number that systemd chooses at each start, which owns nothing.
    uid: Option<u32>,
    gids: Vec<u32>,
}

/// What the installed service cannot read of the configuration `config` and the files it names. Empty where there is no service, or it
/// reads another configuration. `root` is `/`.
pub(super) fn unreadable(root: &Path, config: &Path, named: &[Named]) -> Vec<Unreadable> {
    let Some(service) = Service::installed(root) else { return Vec::new() };
    if !service.reads(config) {
        return Vec::new();
    }
    let Some(reader) = Reader::of(&service, root) else { return Vec::new() };
    let mut found: Vec<Unreadable> = missing_sources(&service, root).collect();
    if let Some(why) = reader.stopped(config, &service) {
        found.push(Unreadable { key: "", message: sentence(&reader, config, &why), remedy: opened(&why, config) });
    }
    for Named { key, file, public } in named {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if service.credentials.iter().any(|(credential, _)| *credential == name) {
            continue;
        }
        let Some(why) = reader.stopped(file, &service) else { continue };
        let remedy = if *public { opened(&why, file) } else { handed_over(&service, root, &name, file) };
        found.push(Unreadable { key, message: sentence(&reader, file, &why), remedy });
    }
    found
}

/// Credentials whose file does not exist: the service would not start at all.
fn missing_sources(service: &Service, root: &Path) -> impl Iterator<Item = Unreadable> {
    let missing = service.credentials.iter().filter_map(|(name, source)| {
        let source = source.as_ref()?;
        let there = fs::symlink_metadata(below(root, source)).is_ok();
        (!there).then_some((name, source))
    });
    missing.map(|(name, source)| Unreadable {
        key: "",
        message: format!(
            "{} has `LoadCredential={name}:{}`, and that file does not exist: the service will not start",
            service.unit.display(),
            source.display()
        ),
        remedy: "create the file, or put a # before that line".to_owned(),
    })
}

fn sentence(reader: &Reader, file: &Path, why: &Stopped) -> String {
    let (name, file) = (&reader.name, file.display());
    match why {
        Stopped::Mode(place) => {
            format!("the service runs as the user {name}, who may not read {file} ({})", place.display())
        }
        Stopped::Hidden => {
            format!("the service cannot see {file}: its unit hides the folders of people (ProtectHome=)")
        }
    }
}

/// How a file without secrets becomes readable.
fn opened(why: &Stopped, file: &Path) -> String {
    match why {
        Stopped::Mode(place) if place == file => format!("`sudo chmod 0644 {}`", file.display()),
        Stopped::Mode(place) => format!("`sudo chmod 0755 {}`", place.display()),
        Stopped::Hidden => "move it to /etc/surplusd".to_owned(),
    }
}

/// How a secret reaches the service: the line, and where it goes.
fn handed_over(service: &Service, root: &Path, name: &str, file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let line = format!("LoadCredential={name}:{}", absolute.display());
    let unit = service.unit.display();
    let prepared =
        read(&below(root, &service.unit)).is_some_and(|text| text.lines().any(|other| other == format!("#{line}")));
    let then = "`sudo systemctl daemon-reload && sudo systemctl restart surplusd`";
    if prepared && service.unit.starts_with("/etc") {
        format!("remove the # before `{line}` in {unit}, then {then}")
    } else {
        // The package's own file would be overwritten by its next version.
        format!("`sudo systemctl edit surplusd`, write `[Service]` and below it `{line}`, then {then}")
    }
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// By the permissions of this file or folder.
    Mode(PathBuf),
    /// Its folder is hidden from the service.
    Hidden,
}

impl Service {
    /// The installed unit with its drop-ins; `None` where there is none or it is masked.
    fn installed(root: &Path) -> Option<Self> {
        // What masks a unit is a link to /dev/null, or an empty file: it counts, and so nothing below it does.
        let folder = FOLDERS.into_iter().find(|folder| fs::symlink_metadata(root.join(folder).join(UNIT)).is_ok())?;
        let mut service = Self { unit: Path::new("/").join(folder).join(UNIT), ..Self::default() };
        service.take(&read(&root.join(folder).join(UNIT)).filter(|text| !text.is_empty())?);
        // Of drop-ins with the same name the one in the folder that counts most is read; all of them in the order of their names.
        let mut drop_ins = std::collections::BTreeMap::new();
        for folder in FOLDERS.into_iter().rev() {
            let Ok(entries) = fs::read_dir(root.join(folder).join(format!("{UNIT}.d"))) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if path.extension().is_some_and(|ending| ending == "conf") {
                    drop_ins.insert(path.file_name().unwrap_or_default().to_owned(), path);
                }
            }
        }
        for path in drop_ins.values() {
            service.take(&read(path).unwrap_or_default());
        }
        Some(service)
    }

    /// Takes over what a file says; an empty list empties it.
    fn take(&mut self, text: &str) {
        let mut ours = false;
        for line in text.replace("\\\n", " ").lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if line.starts_with('[') {
                ours = line == "[Service]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| ours) else { continue };
            let (key, value) = (key.trim_end(), value.trim_start());
            let yes = matches!(value, "yes" | "true" | "on" | "1");
            match key {
                "ExecStart" => value.clone_into(&mut self.starts),
                "User" => self.user = (!value.is_empty()).then(|| value.to_owned()),
                "DynamicUser" => self.dynamic = yes,
                "ProtectHome" => self.hides_homes = yes || value == "tmpfs",
                "Group" | "SupplementaryGroups" if value.is_empty() => self.groups.clear(),
                "Group" | "SupplementaryGroups" => self.groups.extend(value.split_whitespace().map(ToOwned::to_owned)),
                "LoadCredential" | "LoadCredentialEncrypted" | "SetCredential" | "SetCredentialEncrypted" => {
                    self.credential(key, value);
                }
                _ => {}
            }
        }
    }

    fn credential(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            self.credentials.clear();
            return;
        }
        let (name, source) = value.split_once(':').unwrap_or((value, ""));
        // A relative one is looked for among the system's own credentials.
        let file = key.starts_with("Load").then(|| PathBuf::from(source)).filter(|file| file.is_absolute());
        self.credentials.push((name.to_owned(), file));
    }

    /// Whether it is started with this configuration.
    fn reads(&self, config: &Path) -> bool {
        let words: Vec<&str> = self.starts.split_whitespace().collect();
        let named = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--config") {
            Some("") => words.get(at + 1).copied(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        });
        let named = Path::new(named.unwrap_or("/etc/surplusd/surplusd.toml"));
        let same = |one: &Path, other: &Path| Some(fs::canonicalize(one).ok()? == fs::canonicalize(other).ok()?);
        named == config || same(named, config).unwrap_or(false)
    }
}

impl Reader {
    /// `None` where the service is root, who reads everything.
    fn of(service: &Service, root: &Path) -> Option<Self> {
        let name = service.user.clone().unwrap_or_else(|| if service.dynamic { "surplusd" } else { "root" }.to_owned());
        let users = read(&root.join("etc/passwd")).unwrap_or_default();
        let groups = read(&root.join("etc/group")).unwrap_or_default();
        let user = entry(&users, &name);
        let uid = user.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| name.parse().ok());
        if uid == Some(0) || name == "root" {
            return None;
        }
        let mut gids: Vec<u32> = user_group(&users, &name).into_iter().collect();
        for group in groups.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
            let [title, _, gid, members, ..] = group.as_slice() else { continue };
            let given = service.groups.iter().any(|wanted| wanted == title || wanted == gid);
            if given || *title == name || members.split(',').any(|member| member == name) {
                gids.extend(gid.parse::<u32>());
            }
        }
        Some(Self { name, uid, gids })
    }

    /// What keeps it from reading a file, if anything does.
    fn stopped(&self, file: &Path, service: &Service) -> Option<Stopped> {
        // Through links, as opening it goes; what does not exist is somebody else's finding.
        let file = &fs::canonicalize(file).ok()?;
        let home = ["/home", "/root", "/run/user"].iter().any(|home| file.starts_with(home));
        if service.hides_homes && home {
            return Some(Stopped::Hidden);
        }
        let mut place = PathBuf::new();
        for part in file.components() {
            place.push(part);
            let metadata = fs::metadata(&place).ok()?;
            let wanted = if metadata.is_dir() { 0o1 } else { 0o4 };
            if !self.may(&metadata, wanted) && part != Component::RootDir {
                return Some(Stopped::Mode(place));
            }
        }
        None
    }

    /// Whether the permission bits (read 4, enter 1) let it.
    fn may(&self, metadata: &Metadata, wanted: u32) -> bool {
        let shift = if self.uid == Some(metadata.uid()) {
            6
        } else if self.gids.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        metadata.mode() >> shift & wanted == wanted
    }
}

/// The fields of a name's line in passwd(5) or group(5).
fn entry<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))
}

fn user_group(users: &str, name: &str) -> Option<u32> {
    entry(users, name)?.get(3)?.parse().ok()
}

/// An absolute path below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A text file of moderate length.
fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}
