//! Checks whether the installed service can read the files that the checked configuration names, and that its unit holds no secret. `check`
//! mostly runs as root or as a person, but the service runs as a user of its own, so what `check` itself can read proves nothing.
//!
//! Reads the unit and its drop-ins as systemd does (systemd.unit(5), systemd.exec(5)), and the user database. Access control lists are
//! ignored; that is one reason why all findings here are only warnings.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The folders of units, in descending order of precedence (systemd.unit(5)).
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const UNIT: &str = "surplusd.service";
/// Larger files are not units.
const FILE_MAX: u64 = 256 * 1024;

/// A file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The key in the configuration, such as `mqtt.password-file`.
    pub(super) key: &'static str,
    /// The path at which it was found.
    pub(super) file: PathBuf,
    /// Everyone may read it: it holds no secret.
    pub(super) public: bool,
}

/// A file that the service cannot read, or a secret that everybody can, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) key: &'static str,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The installed service, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Service {
    /// The unit file in effect.
    unit: PathBuf,
    /// The command line.
    starts: String,
    user: Option<String>,
    dynamic: bool,
    groups: Vec<String>,
    /// `ProtectHome=` hides home directories.
    hides_homes: bool,
    /// Names of credentials, with their source files if given as absolute paths.
    credentials: Vec<(String, Option<PathBuf>)>,
    /// Names of credentials that stand in the unit themselves.
    inline: Vec<String>,
}

/// The user that the service runs as.
struct Reader {
    name: String,
    /// `None`: a dynamic user, chosen by systemd at each start, which owns no files.
    uid: Option<u32>,
    gids: Vec<u32>,
}

/// Lists secrets in the unit, and what the installed service cannot read of the configuration `config` and the files it names. Empty if
/// there is no service, or it uses another configuration. `root` is `/` except in tests.
pub(super) fn unreadable(root: &Path, config: &Path, named: &[Named]) -> Vec<Unreadable> {
    let Some(service) = Service::installed(root) else { return Vec::new() };
    if !service.reads(config) {
        return Vec::new();
    }
    let mut found: Vec<Unreadable> = service.inline.iter().map(|name| in_the_unit(name)).collect();
    let Some(reader) = Reader::of(&service, root) else { return found };
    found.extend(missing_sources(&service, root));
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

/// A credential that everybody may read: units are no secrets, and systemd shows them to whoever asks.
fn in_the_unit(name: &str) -> Unreadable {
    Unreadable {
        key: "",
        message: format!(
            "the unit has the secret itself (`SetCredential={name}:…`), and everybody on this machine may read it \
             (`systemctl cat surplusd`)"
        ),
        remedy: format!(
            "write a new secret into a file with mode 0600, and `LoadCredential={name}:FILE` into the unit instead; or use \
             `SetCredentialEncrypted={name}:…` (`systemd-creds encrypt`)"
        ),
    }
}

/// Credentials whose source file does not exist: the service would not even start.
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
            format!("the service cannot see {file}: its unit hides home directories (ProtectHome=)")
        }
    }
}

/// How to make a file without secrets readable.
fn opened(why: &Stopped, file: &Path) -> String {
    match why {
        Stopped::Mode(place) if place == file => format!("`sudo chmod 0644 {}`", file.display()),
        Stopped::Mode(place) => format!("`sudo chmod 0755 {}`", place.display()),
        Stopped::Hidden => "move it to /etc/surplusd".to_owned(),
    }
}

/// How to hand a secret to the service: the line to add, and where.
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
        // The next version of the package would overwrite its own unit file.
        format!("`sudo systemctl edit surplusd`, write `[Service]` and below it `{line}`, then {then}")
    }
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// The permissions of this file or folder forbid it.
    Mode(PathBuf),
    /// The folder is hidden from the service.
    Hidden,
}

impl Service {
    /// Reads the installed unit with its drop-ins; `None` if there is none or it is masked.
    fn installed(root: &Path) -> Option<Self> {
        // A unit is masked by a link to /dev/null or an empty file in a folder of higher precedence: that file is found here and hides
        // those below.
        let folder = FOLDERS.into_iter().find(|folder| fs::symlink_metadata(root.join(folder).join(UNIT)).is_ok())?;
        let mut service = Self { unit: Path::new("/").join(folder).join(UNIT), ..Self::default() };
        service.take(&read(&root.join(folder).join(UNIT)).filter(|text| !text.is_empty())?);
        // Of drop-ins with the same name only the one of highest precedence is read; they are read in the order of their names.
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

    /// Applies the settings of one file; an empty list clears earlier entries.
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
            self.inline.clear();
            return;
        }
        let (name, source) = value.split_once(':').unwrap_or((value, ""));
        // systemd looks for a relative path among the system's own credentials.
        let file = key.starts_with("Load").then(|| PathBuf::from(source)).filter(|file| file.is_absolute());
        self.credentials.push((name.to_owned(), file));
        if key == "SetCredential" {
            self.inline.push(name.to_owned());
        }
    }

    /// Whether the service is started with this configuration.
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
    /// `None` if the service runs as root, who can read everything.
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

    /// What prevents the service from reading a file, if anything.
    fn stopped(&self, file: &Path, service: &Service) -> Option<Stopped> {
        // Follows links, as opening the file does; a missing file is reported elsewhere.
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

    /// Whether the permission bits allow this user access (read 4, enter 1).
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

/// The fields of the line for `name` in passwd(5) or group(5).
fn entry<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))
}

fn user_group(users: &str, name: &str) -> Option<u32> {
    entry(users, name)?.get(3)?.parse().ok()
}

/// Moves an absolute path below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Reads a text file of limited size.
fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}
