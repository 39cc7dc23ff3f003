//! `surplusd relay provision`: writes everything that makes a Pico this household's relay as a file to drop on its drive.

use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use relay_link::settings::{BAUD, FLASH_OFFSET, PAGE, PORT, Settings, SettingsFault};

use crate::regular;
use crate::relay::uf2::uf2;
use crate::tls::authority::{self, AUTHORITY};
use crate::tls::inspect::{KeyFile, inspect};
use crate::tls::{certificates, private_key};

/// Longest passphrase that is read, in bytes; the limit of WPA2 is checked later.
const PASSPHRASE_MAX: u64 = 1_024;

/// Arguments of `relay provision`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Provision {
    /// The relay's id, for which `surplusd certs issue` has made a certificate
    #[arg(value_parser = super::id)]
    pub id: String,
    /// File to write
    #[arg(long, value_name = "FILE.uf2")]
    pub out: PathBuf,
    /// Folder with ca.crt and the relay's certificate and key
    #[arg(long, value_name = "FOLDER", default_value = "/etc/surplusd/certs")]
    pub dir: PathBuf,
    /// Name of the Wi-Fi network (2.4 GHz)
    #[arg(long)]
    pub ssid: String,
    /// File with only the passphrase (without it: the first line of standard input)
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Use an open network, without a passphrase
    #[arg(long, conflicts_with = "passphrase_file")]
    pub open: bool,
    /// The broker's host name or address, as in its certificate
    #[arg(long, value_name = "HOST")]
    pub broker: String,
    /// The broker's port for TLS
    #[arg(long, default_value_t = PORT)]
    pub port: u16,
    /// Bits per second of the RS-485 line
    #[arg(long, default_value_t = BAUD)]
    pub baud: u32,
}

/// Writes the settings file.
pub(super) fn run(args: &Provision, input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<()> {
    let der = |name: &str| -> anyhow::Result<Vec<u8>> {
        let chain = certificates(&args.dir.join(name))?;
        Ok(chain.first().context("it is empty")?.as_ref().to_vec())
    };
    let authority = der(AUTHORITY.0).context("the household's authority is needed: name its folder with --dir")?;
    fits(args, &authority)?;
    let certificate = der(&format!("{}.crt", args.id))?;
    let key = private_key(&args.dir.join(format!("{}.key", args.id)))?;
    let passphrase = passphrase(args, input)?;
    let settings = Settings {
        id: &args.id,
        ssid: &args.ssid,
        passphrase: &passphrase,
        host: &args.broker,
        port: args.port,
        authority: &authority,
        certificate: &certificate,
        key: key.secret_der(),
        baud: args.baud,
    };
    let mut page = [0xFF; PAGE];
    let length = settings.write(&mut page).map_err(|fault| anyhow::anyhow!("{}", remedy(fault)))?;
    // A whole sector, so that nothing of earlier settings remains.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.out).with_context(|| {
        let there = if args.out.exists() { ": it exists, and nothing is overwritten" } else { "" };
        format!("{} cannot be written{there}", args.out.display())
    })?;
    file.write_all(&uf2(FLASH_OFFSET, &page))?;
    writeln!(
        out,
        "{} holds the settings of {} ({length} bytes), its key and the Wi-Fi passphrase.",
        args.out.display(),
        args.id
    )?;
    writeln!(
        out,
        "Hold BOOTSEL while plugging the Pico in, and copy it to the drive RPI-RP2. The Pico restarts after each file: hold BOOTSEL again for the other one, if it has no firmware yet."
    )?;
    writeln!(out, "Then delete it: whoever has it can impersonate this relay.")?;
    Ok(())
}

/// Checks that the relay and this household's broker will accept each other's certificates. A mismatch would otherwise show only as a Pico
/// that never connects.
fn fits(args: &Provision, authority: &[u8]) -> anyhow::Result<()> {
    let (id, dir) = (&args.id, args.dir.display());
    authority::check_hosts(std::slice::from_ref(&args.broker))
        .context("--broker takes only a host name or an address")?;
    ensure!(
        args.dir.join(format!("{id}.crt")).exists(),
        "there is no certificate for {id} in {dir}: issue one first, with surplusd certs issue {id} --dir {dir}"
    );
    let relay = inspect(&args.dir, id, Some(authority))?.with_context(|| format!("{id}.crt is no certificate"))?;
    ensure!(
        !relay.authority && (relay.usages.is_empty() || relay.usages.contains(&"client")),
        "{id}.crt is not the certificate of a client: issue one for the relay, with a name of its own"
    );
    ensure!(relay.signed == Some(true), "{id}.crt was not signed by the authority in {dir}");
    match relay.key {
        None => bail!("{id}.key is missing in {dir}"),
        Some(KeyFile { fits: Some(false), .. }) => bail!("{id}.key does not belong to {id}.crt"),
        Some(KeyFile { fits: None | Some(true), .. }) => {}
    }
    if let Ok(Some(broker)) = inspect(&args.dir, "broker", None) {
        let known = broker.names.iter().any(|name| name.eq_ignore_ascii_case(&args.broker));
        let names = broker.names.join(", ");
        ensure!(known, "broker.crt in {dir} is for {names}: a relay that looks for {} would not take it", args.broker);
    }
    Ok(())
}

fn passphrase(args: &Provision, input: &mut dyn BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    if args.open {
        return Ok(text);
    }
    match &args.passphrase_file {
        Some(file) => {
            text = regular::read_secret_text(file, PASSPHRASE_MAX).with_context(|| file.display().to_string())?;
        }
        None => {
            input.take(PASSPHRASE_MAX).read_line(&mut text)?;
        }
    }
    let text = text.trim_end_matches(['\r', '\n']);
    ensure!(!text.contains('\n'), "the passphrase has more than one line");
    if text.is_empty() {
        bail!("there is no passphrase: give it in a file with --passphrase-file or on standard input, or use --open");
    }
    Ok(text.to_owned())
}

const fn remedy(fault: SettingsFault) -> &'static str {
    match fault {
        SettingsFault::TooLong => {
            "all of it does not fit into 4096 bytes: use certificates with P-256 keys, as `surplusd certs` makes them"
        }
        SettingsFault::Wrong(what) => match what.as_bytes() {
            b"ssid" => "a network's name has 1 to 32 bytes",
            b"passphrase" => "a WPA2 passphrase has 8 to 63 characters",
            b"host" => "the broker must be a host name or an address",
            b"port" => "the port cannot be 0",
            b"baud" => "the line's speed must be 1200 to 115200",
            _ => "the certificates cannot be used",
        },
        SettingsFault::Empty | SettingsFault::Damaged => "the settings cannot be written",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::tls::authority::Purpose;

    fn args(dir: &Path) -> Provision {
        Provision {
            id: "pico-carport".to_owned(),
            out: dir.join("out.uf2"),
            dir: dir.to_owned(),
            ssid: "home".to_owned(),
            passphrase_file: None,
            open: false,
            broker: "homeassistant.local".to_owned(),
            port: PORT,
            baud: BAUD,
        }
    }

    fn provision(args: &Provision, passphrase: &str) -> Result<String, String> {
        let mut out = Vec::new();
        let result = run(args, &mut passphrase.as_bytes(), &mut out);
        result.map(|()| String::from_utf8(out).unwrap()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_written_makes_a_relay() {
        let dir = tempfile::tempdir().unwrap();
        let args = args(dir.path());
        authority::init(dir.path(), "Household", 1_795_737_600_000).unwrap();
        assert!(provision(&args, "correct horse\n").unwrap_err().contains("surplusd certs issue pico-carport"));
        authority::issue(dir.path(), "pico-carport", &Purpose::Client, 1_795_737_600_000).unwrap();
        let said = provision(&args, "correct horse\n").unwrap();
        assert!(said.contains("BOOTSEL") && !said.contains("correct horse"));
        assert_eq!(std::fs::metadata(&args.out).unwrap().permissions().mode() & 0o777, 0o600);
        // As the boot ROM takes it: 256 bytes of each block of 512.
        let image = std::fs::read(&args.out).unwrap();
        let page: Vec<u8> = image.chunks(512).flat_map(|block| block[32..288].to_vec()).collect();
        assert_eq!(page.len(), PAGE);
        let settings = Settings::parse(&page).unwrap();
        assert_eq!((settings.id, settings.ssid, settings.passphrase), ("pico-carport", "home", "correct horse"));
        assert_eq!((settings.host, settings.port, settings.baud), ("homeassistant.local", 8_883, 19_200));
        assert_eq!(settings.certificate, certificates(&dir.path().join("pico-carport.crt")).unwrap()[0].as_ref());
        assert!(provision(&args, "correct horse\n").unwrap_err().contains("nothing is overwritten"));
    }

    #[test]
    fn what_cannot_work_is_told() {
        let dir = tempfile::tempdir().unwrap();
        authority::init(dir.path(), "Household", 1_795_737_600_000).unwrap();
        let other = tempfile::tempdir().unwrap();
        authority::init(other.path(), "Neighbours", 1_795_737_600_000).unwrap();
        let copy = |from: &Path, name: &str| std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
        for (at, name) in [(&dir, "pico-carport"), (&dir, "mixed"), (&other, "mixed"), (&other, "foreign")] {
            authority::issue(at.path(), name, &Purpose::Client, 1_795_737_600_000).unwrap();
        }
        for name in ["mixed.key", "foreign.crt", "foreign.key"] {
            copy(other.path(), name);
        }
        let broker = Purpose::Server(vec!["homeassistant.local".to_owned()]);
        authority::issue(dir.path(), "broker", &broker, 1_795_737_600_000).unwrap();
        let good = args(dir.path());
        for (args, passphrase, words) in [
            (good.clone(), "", "there is no passphrase"),
            (good.clone(), "short", "8 to 63 characters"),
            (Provision { ssid: String::new(), ..good.clone() }, "long enough", "1 to 32 bytes"),
            (Provision { broker: "a b".to_owned(), ..good.clone() }, "long enough", "neither a host name nor an IP"),
            (
                Provision { broker: "mqtts://b:8883".to_owned(), ..good.clone() },
                "long enough",
                "only a host name or an address",
            ),
            (
                Provision { broker: "192.168.1.99".to_owned(), ..good.clone() },
                "long enough",
                "is for homeassistant.local",
            ),
            (Provision { id: "ca".to_owned(), ..good.clone() }, "long enough", "not the certificate of a client"),
            (Provision { id: "broker".to_owned(), ..good.clone() }, "long enough", "not the certificate of a client"),
            (
                Provision { id: "mixed".to_owned(), ..good.clone() },
                "long enough",
                "mixed.key does not belong to mixed.crt",
            ),
            (Provision { id: "foreign".to_owned(), ..good.clone() }, "long enough", "not signed by the authority"),
            (
                Provision { out: dir.path().join("none/x.uf2"), ..good.clone() },
                "long enough",
                "x.uf2 cannot be written: No such",
            ),
            (Provision { baud: 1, ..good.clone() }, "long enough", "1200 to 115200"),
        ] {
            let error = provision(&args, passphrase).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(!good.out.exists());
        let (phrase, key) = (dir.path().join("phrase"), dir.path().join("pico-carport.key"));
        std::fs::write(&phrase, "long enough\n").unwrap();
        let from_file = Provision { passphrase_file: Some(phrase.clone()), ..good.clone() };
        for (args, file) in [(&from_file, &phrase), (&good, &key)] {
            let with_mode = |mode| std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
            with_mode(0o644);
            let error = provision(args, "long enough").unwrap_err();
            let words = format!("{}: everybody on this machine may read or write it (mode 0644)", file.display());
            assert!(error.contains(&words) && error.contains("`sudo chmod 0600` it"), "{error}");
            assert!(!good.out.exists());
            with_mode(0o600);
        }
        provision(&Provision { open: true, ..good.clone() }, "").unwrap();
    }
}
