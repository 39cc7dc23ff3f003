//! `surplusd relay provision`: everything that makes a Pico this household's relay, as a file to drop on its drive.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use relay_link::settings::{BAUD, FLASH_OFFSET, PAGE, PORT, Settings, SettingsFault};

use crate::relay::uf2::uf2;
use crate::tls::authority::AUTHORITY;
use crate::tls::{certificates, private_key};

/// Arguments of `relay provision`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Provision {
    /// The relay's id, for which `surplusd certs issue` has made a certificate
    #[arg(value_parser = super::id)]
    pub id: String,
    /// The file to be written
    #[arg(long, value_name = "FILE.uf2")]
    pub out: PathBuf,
    /// The folder with ca.crt and the relay's certificate and key
    #[arg(long, value_name = "FOLDER", default_value = "/etc/surplusd/certs")]
    pub certs: PathBuf,
    /// The name of the Wi-Fi network (2.4 GHz)
    #[arg(long)]
    pub ssid: String,
    /// A file with only the passphrase (without it, the first line of standard input)
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The broker, as its certificate has it
    #[arg(long, value_name = "HOST")]
    pub broker: String,
    /// The broker's port for TLS
    #[arg(long, default_value_t = PORT)]
    pub port: u16,
    /// Bits per second of the RS-485 line
    #[arg(long, default_value_t = BAUD)]
    pub baud: u32,
}

/// Writes the file.
pub(super) fn run(args: &Provision, input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<()> {
    let certificate_file = args.certs.join(format!("{}.crt", args.id));
    let der = |path: &Path| -> anyhow::Result<Vec<u8>> {
        let chain = certificates(path)?;
        Ok(chain.first().context("it is empty")?.as_ref().to_vec())
    };
    let missing = || format!("issue one first: surplusd certs issue {} --dir {}", args.id, args.certs.display());
    let certificate = der(&certificate_file).with_context(missing)?;
    let key = private_key(&args.certs.join(format!("{}.key", args.id))).with_context(missing)?;
    let authority = der(&args.certs.join(AUTHORITY.0))?;
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
    // A whole sector, so that nothing of an earlier page remains.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.out)
        .with_context(|| format!("{} cannot be written (nothing is overwritten)", args.out.display()))?;
    file.write_all(&uf2(FLASH_OFFSET, &page))?;
    writeln!(
        out,
        "{} holds the settings of {} ({length} bytes), its key and the Wi-Fi passphrase.",
        args.out.display(),
        args.id
    )?;
    writeln!(
        out,
        "Hold BOOTSEL while plugging the Pico in, and copy it to the drive RPI-RP2. The Pico restarts after each file: hold BOOTSEL again for the firmware."
    )?;
    writeln!(out, "Then delete it: whoever has it can play this relay.")?;
    Ok(())
}

fn passphrase(args: &Provision, input: &mut dyn BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    match &args.passphrase_file {
        Some(file) => text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => {
            input.read_line(&mut text)?;
        }
    }
    let text = text.trim_end_matches(['\r', '\n']);
    ensure!(!text.contains('\n'), "the passphrase has more than one line");
    if text.is_empty() {
        bail!("there is no passphrase: give it in a file with --passphrase-file, or on standard input");
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

    use super::*;
    use crate::tls::authority::{self, Purpose};

    fn args(dir: &Path) -> Provision {
        Provision {
            id: "pico-carport".to_owned(),
            out: dir.join("out.uf2"),
            certs: dir.to_owned(),
            ssid: "home".to_owned(),
            passphrase_file: None,
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
        assert!(provision(&args, "correct horse\n").unwrap_err().contains("surplusd certs issue pico-carport"));
        authority::init(dir.path(), "Household", 1_795_737_600_000).unwrap();
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
        authority::issue(dir.path(), "pico-carport", &Purpose::Client, 1_795_737_600_000).unwrap();
        let good = args(dir.path());
        for (args, passphrase, words) in [
            (good.clone(), "", "there is no passphrase"),
            (good.clone(), "short", "8 to 63 characters"),
            (Provision { ssid: String::new(), ..good.clone() }, "long enough", "1 to 32 bytes"),
            (Provision { broker: "a b".to_owned(), ..good.clone() }, "long enough", "a host name or an address"),
            (Provision { baud: 1, ..good.clone() }, "long enough", "1200 to 115200"),
        ] {
            let error = provision(&args, passphrase).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(!good.out.exists());
    }
}
