//! Applies a new configuration while everything is running. What did not change is not disturbed.

use std::collections::BTreeMap;
use std::time::Duration;

use control::Input;
use tracing::{info, warn};

use super::state::Found;
use super::{Daemon, link_setup, names, topics};
use crate::config::Config;
use crate::mqtt::link;

impl Daemon {
    /// Applies a new configuration without disturbing what did not change. If any charger's setup changed, all lines are closed (with the
    /// safe current) and reopened, which counts as a stop like any other. If the broker changed, the old one is sent `offline` first.
    pub(super) async fn reload(&mut self, config: Config) -> std::io::Result<()> {
        let moved = link_setup(&config) != link_setup(&self.config)
            || topics(&config) != topics(&self.config)
            || config.inputs != self.config.inputs;
        let lines_changed = config.chargers != self.config.chargers;
        if config.state_file != self.config.state_file {
            warn!("a new state-file takes effect at the next start");
        }
        if config.journal != self.config.journal {
            warn!("a new [journal] takes effect at the next start");
        }
        let mut set = Vec::new();
        if lines_changed {
            // Ids are places in the file: events that the lines still send belong to the old names.
            self.keeper.note_stops(&self.controller.snapshot());
            set = self.close_lines().await;
            self.count_limits();
        }
        let old = std::mem::replace(&mut self.config, config);
        self.config.state_file = old.state_file;
        self.config.journal = old.journal;
        let names = names(&self.config);
        self.keeper.configure(&self.config, &names, Found::Whole);
        self.tasks.relays.reconfigure(&self.config).await;
        if lines_changed {
            self.begin_chargers_anew();
            self.open_buses()?;
        } else {
            self.controller.handle(Input::Reconfigure(self.config.control.clone()), self.clock.now());
        }
        self.controller.rename(names.as_map().clone(), self.clock.now());
        self.view.reconfigure(names.clone());
        self.requests.reconfigure(&self.config.publish.base_topic, names);
        for event in set {
            self.set(&event);
        }
        self.intake.reconfigure(&self.config);
        if moved {
            self.move_on().await;
        }
        self.outputs.reconfigure(&self.config);
        info!("the configuration was read again");
        Ok(())
    }

    /// Connects to the new broker and leaves the old one in order.
    async fn move_on(&mut self) {
        let now = self.clock.now();
        self.intake.move_on(&self.config);
        let (link, [site_events, set_events, relay_events]) =
            link::spawn(link_setup(&self.config), topics(&self.config), self.clock);
        self.tasks.relays.moved(link.publisher(), relay_events).await;
        let old = std::mem::replace(&mut self.tasks.link, link);
        self.site_events = site_events;
        self.set_events = set_events;
        if self.view.is_connected() {
            self.intake.link(false, now);
        }
        self.view.moved(now);
        old.shutdown(Duration::from_secs(1)).await;
        self.outputs.moved(&self.tasks.link);
    }

    /// Makes the controller forget all chargers, which may have changed places, and passes it what is kept for each of them by name.
    pub(super) fn begin_chargers_anew(&mut self) {
        let now = self.clock.now();
        let none = control::Config { chargers: BTreeMap::new(), ..self.config.control.clone() };
        self.controller.handle(Input::Reconfigure(none), now);
        self.controller.handle(Input::Reconfigure(self.config.control.clone()), now);
        self.keeper.restore(&mut self.controller, now, false);
        self.outputs.forget_chargers();
        self.view.forget_chargers();
        self.keeper.forget_places();
    }
}
