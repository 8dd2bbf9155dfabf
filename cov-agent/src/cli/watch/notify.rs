//! Telling a service manager how it goes: sd_notify(3), a line in a datagram.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if one started this process and wants to know.
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that this process is alive.
    pub watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    ///
    /// # Errors
    /// The manager's socket is not there.
    pub(super) fn new() -> io::Result<Self> {
        Self::of(std::env::var_os("NOTIFY_SOCKET"), |name| std::env::var(name).ok(), std::process::id())
    }

    fn of(socket: Option<OsString>, variable: impl Fn(&str) -> Option<String>, own: u32) -> io::Result<Self> {
        let connect = |name: OsString| {
            let address = match name.as_bytes().split_first() {
                Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            io::Result::Ok(socket)
        };
        let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
        let every = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| meant && *micros > 0);
        // Twice as often as is asked for, as the manual advises.
        let watchdog = every.map(|micros: u64| Duration::from_micros(micros.div_ceil(2)));
        Ok(Self { socket: socket.map(connect).transpose()?, watchdog })
    }

    /// Says something, such as `READY=1`. Never waits: a manager that does not listen is no reason to stop.
    pub(super) fn say(&self, line: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_what_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let variable = |name: &str| (name == "WATCHDOG_USEC").then(|| "3000000".to_owned());
        let notify = Notify::of(Some(path.clone().into()), variable, 7).unwrap();
        assert_eq!(notify.watchdog, Some(Duration::from_millis(1500)));
        notify.say("READY=1");
        let mut bytes = [0; 16];
        let read = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..read], b"READY=1");
        drop(manager);
        std::fs::remove_file(&path).unwrap();
        notify.say("STOPPING=1");
        assert!(Notify::of(Some(path.into()), variable, 7).is_err(), "a manager that is named must be there");
    }

    #[test]
    fn abstract_names_and_other_processes_watchdogs() {
        let name = format!("cov-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let variable = |name: &str| Some(if name == "WATCHDOG_PID" { "8" } else { "1000" }.to_owned());
        let notify = Notify::of(Some(format!("@{name}").into()), variable, 7).unwrap();
        assert_eq!(notify.watchdog, None, "another process is meant");
        notify.say("x");
        assert_eq!(manager.recv(&mut [0; 4]).unwrap(), 1);
        let none = Notify::of(None, |_| None, 7).unwrap();
        none.say("nobody hears it");
        assert!(none.watchdog.is_none());
    }
}
