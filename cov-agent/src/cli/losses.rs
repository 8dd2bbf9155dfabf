//! What was lost, as warnings.

use super::message::{Message, Slug};
use crate::coverage::Losses;

/// A warning for each kind of loss.
pub(super) fn messages(losses: &Losses) -> Vec<Message> {
    losses
        .iter()
        .map(|(kind, loss)| {
            let some = loss.details.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
            let more = if loss.details.len() > 3 { "; …" } else { "" };
            let details = if some.is_empty() { String::new() } else { format!(": {some}{more}") };
            Message::new(Slug::Losses, format!("{} {kind}{details}", loss.count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::LossKind;

    #[test]
    fn losses_are_told_with_some_details() {
        let mut one = Losses::default();
        one.add_detail(LossKind::UnattachedObjects, "/lib/x.so: damaged");
        let said: Vec<String> = messages(&one).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["1 objects that ran without probes: /lib/x.so: damaged (losses)"]);
        let mut many = Losses::default();
        (0..5).for_each(|n| many.add_detail(LossKind::UnprobeableSites, n.to_string()));
        let said = messages(&many).into_iter().map(|m| m.to_string()).collect::<String>();
        assert_eq!(said, "5 instructions that could not be probed: 0; 1; 2; … (losses)");
    }
}
