//! The names of the chargers.

use std::collections::BTreeMap;

use control::ChargerId;

/// The chargers' names, in the order of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<ChargerId, String>);

impl Names {
    /// Returns the charger's name; `?` if the charger is not in the configuration.
    pub fn get(&self, id: ChargerId) -> &str {
        self.0.get(&id).map_or("?", String::as_str)
    }

    /// Returns the charger with this name.
    pub fn id(&self, name: &str) -> Option<ChargerId> {
        self.0.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// Iterates over all chargers and their names.
    pub fn iter(&self) -> impl Iterator<Item = (ChargerId, &str)> {
        self.0.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// Returns all names separated by commas, for a message.
    pub fn list(&self) -> String {
        self.iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }

    /// Returns the names as a map, which is how the journal stores them.
    pub const fn as_map(&self) -> &BTreeMap<ChargerId, String> {
        &self.0
    }
}

impl FromIterator<(ChargerId, String)> for Names {
    fn from_iter<I: IntoIterator<Item = (ChargerId, String)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}
