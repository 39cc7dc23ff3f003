//! What the chargers are called.

use std::collections::BTreeMap;

use control::ChargerId;

/// The chargers' names, in the order of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<ChargerId, String>);

impl Names {
    /// The charger's name; `?` for one that the configuration does not have.
    pub fn get(&self, id: ChargerId) -> &str {
        self.0.get(&id).map_or("?", String::as_str)
    }

    /// The charger of this name.
    pub fn id(&self, name: &str) -> Option<ChargerId> {
        self.0.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// All chargers with their names.
    pub fn iter(&self) -> impl Iterator<Item = (ChargerId, &str)> {
        self.0.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// All names, separated by commas, for a message.
    pub fn list(&self) -> String {
        self.iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }

    /// For the journal, which stores them as a map.
    pub const fn as_map(&self) -> &BTreeMap<ChargerId, String> {
        &self.0
    }
}

impl FromIterator<(ChargerId, String)> for Names {
    fn from_iter<I: IntoIterator<Item = (ChargerId, String)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}
