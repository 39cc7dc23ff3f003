//! Applies a new configuration while everything is running. What did not change is not disturbed.

use std::time::Duration;

use tracing::{info, warn};

use super::{Daemon, link_setup, topics};
use crate::config::Config;
use crate::mqtt::link;

impl Daemon {
    /// Applies a new configuration without disturbing what did not change. If any charger's setup changed, all lines are closed (with the
    /// safe current) and reopened, which counts as a stop like any other. If the broker changed, the old one is sent `offline` first.
    pub(super) async fn reload(&mut self, mut config: Config) -> std::io::Result<()> {
        let old = &self.hub.config;
        let moved =
            link_setup(&config) != link_setup(old) || topics(&config) != topics(old) || config.inputs != old.inputs;
        let lines_changed = config.chargers != old.chargers;
        if config.state_file != old.state_file {
            warn!("a new state-file takes effect at the next start");
            config.state_file.clone_from(&old.state_file);
        }
        if config.journal != old.journal {
            warn!("a new [journal] takes effect at the next start");
            config.journal.clone_from(&old.journal);
        }
        let mut set = Vec::new();
        if lines_changed {
            // Ids are places in the file: events that the lines still send belong to the old names.
            self.hub.lines_close(self.clock.now());
            set = self.close_lines().await;
        }
        self.hub.reconfigure(config, lines_changed, self.clock.now());
        self.tasks.relays.reconfigure(&self.hub.config).await;
        if lines_changed {
            self.outputs.forget_chargers();
            self.open_buses()?;
        }
        for event in set {
            self.hub.set(&event, self.clock.now());
        }
        if moved {
            self.move_on().await;
        }
        self.outputs.reconfigure(&self.hub.config);
        info!("the configuration was read again");
        Ok(())
    }

    /// Connects to the new broker and leaves the old one in order.
    async fn move_on(&mut self) {
        let config = &self.hub.config;
        let (link, [site_events, set_events, relay_events]) =
            link::spawn(link_setup(config), topics(config), self.clock);
        self.tasks.relays.moved(link.publisher(), relay_events).await;
        let old = std::mem::replace(&mut self.tasks.link, link);
        self.site_events = site_events;
        self.set_events = set_events;
        self.hub.moved(self.clock.now());
        old.shutdown(Duration::from_secs(1)).await;
        self.outputs.moved(&self.tasks.link);
    }
}
