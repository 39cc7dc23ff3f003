//! What the broker does not let us do: each thing is said when it begins, when it changes and when it ends, not at each connection.

use super::contract::Notice;

#[derive(Debug, Default)]
pub(super) struct Access {
    refused: Vec<String>,
    left_out: Vec<String>,
    unheard: bool,
}

impl Access {
    /// The answer to the subscription refuses these topics.
    pub(super) fn answered(&mut self, refused: Vec<String>) -> Option<Notice> {
        if self.refused == refused {
            return None;
        }
        self.refused.clone_from(&refused);
        Some(if refused.is_empty() { Notice::Granted } else { Notice::Refused(refused) })
    }

    /// These topics are left out for a message that is too large.
    pub(super) fn left_out(&mut self, topics: Vec<String>) -> Option<Notice> {
        if self.left_out == topics {
            return None;
        }
        self.left_out.clone_from(&topics);
        Some(Notice::LeftOut(topics))
    }

    /// Our own status came back.
    pub(super) fn heard(&mut self) -> Option<Notice> {
        std::mem::take(&mut self.unheard).then_some(Notice::HeardAgain)
    }

    /// Our own status did not come back.
    pub(super) fn unheard(&mut self, status: String) -> Option<Notice> {
        (!std::mem::replace(&mut self.unheard, true)).then_some(Notice::Unheard(status))
    }

    /// Whether what we publish goes nowhere, as far as is known.
    pub(super) const fn is_unheard(&self) -> bool {
        self.unheard
    }
}
