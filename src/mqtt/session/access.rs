//! What the broker does not let us do. Each restriction is reported when it begins, changes and ends, not on each connection.

use super::contract::Notice;

#[derive(Debug, Default)]
pub(super) struct Access {
    refused: Vec<String>,
    left_out: Vec<String>,
    unheard: bool,
}

impl Access {
    /// Notes which topics the answer to the subscription refuses.
    pub(super) fn answered(&mut self, refused: Vec<String>) -> Option<Notice> {
        if self.refused == refused {
            return None;
        }
        self.refused.clone_from(&refused);
        Some(if refused.is_empty() { Notice::Granted } else { Notice::Refused(refused) })
    }

    /// Notes which topics are left out because of a message that is too large.
    pub(super) fn left_out(&mut self, topics: Vec<String>) -> Option<Notice> {
        if self.left_out == topics {
            return None;
        }
        self.left_out.clone_from(&topics);
        Some(Notice::LeftOut(topics))
    }

    /// Notes that our own status came back.
    pub(super) fn heard(&mut self) -> Option<Notice> {
        std::mem::take(&mut self.unheard).then_some(Notice::HeardAgain)
    }

    /// Notes that our own status did not come back.
    pub(super) fn unheard(&mut self, status: String) -> Option<Notice> {
        (!std::mem::replace(&mut self.unheard, true)).then_some(Notice::Unheard(status))
    }

    /// Returns whether what we publish goes nowhere, as far as is known.
    pub(super) const fn is_unheard(&self) -> bool {
        self.unheard
    }
}
