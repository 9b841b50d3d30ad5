//! A subscription, fetched from; and what a camera tells, read.

use futures_util::future::BoxFuture;
use oxvif::types::NotificationMessage;
use tokio::time::timeout;

use super::{
    super::{OnvifError, Subscription, device::Notice, limits, tidy},
    Session, seconds,
};

pub(super) struct PullPoint {
    pub(super) url: String,
    pub(super) session: Session,
}

impl Subscription for PullPoint {
    fn pull(&mut self) -> BoxFuture<'_, Result<Vec<Notice>, OnvifError>> {
        Box::pin(async {
            let wait = seconds(limits::PULL);
            let pulled = self.session.client.pull_messages(&self.url, &wait, limits::PULL_MESSAGES);
            let pulled = pulled.await.map_err(|e| self.session.explain("tell its events", e))?;
            // It may send more than it was asked for.
            Ok(pulled.into_iter().take(limits::PULL_MESSAGES as usize).map(notice).collect())
        })
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), OnvifError>> {
        Box::pin(async {
            let lease = seconds(limits::LEASE);
            let renewed = self.session.client.renew_subscription(&self.url, &lease).await;
            renewed.map(|_| ()).map_err(|e| self.session.explain("go on telling its events", e))
        })
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = timeout(limits::UNSUBSCRIBE, self.session.client.unsubscribe(&self.url)).await;
        })
    }
}

fn notice(said: NotificationMessage) -> Notice {
    let truth = |value: &str| match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "active" | "on" => Some(true),
        "false" | "0" | "inactive" | "off" => Some(false),
        _ => None,
    };
    let known = ["IsMotion", "State", "LogicalState", "IsTamper"];
    let named = known.iter().find_map(|name| truth(said.data.get(*name)?));
    // Vendors have names of their own; where one value alone says yes or no, it is the state.
    let state = named.or_else(|| {
        let mut all = said.data.iter().filter(|(_, v)| v.len() > 1).filter_map(|(_, v)| truth(v));
        all.next().filter(|_| all.next().is_none())
    });
    let topic: Vec<_> =
        said.topic.split('/').map(|part| part.rsplit(':').next().unwrap_or(part)).collect();
    let mut source: Vec<_> = said.source.iter().map(|(n, v)| format!("{n}={v}")).collect();
    source.sort_unstable();
    Notice {
        topic: tidy(&topic.join("/")),
        source: tidy(&source.join(" ")),
        state,
        initial: said.property_operation.eq_ignore_ascii_case("initialized"),
        gone: said.property_operation.eq_ignore_ascii_case("deleted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, operation: &str, data: &[(&str, &str)]) -> NotificationMessage {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        NotificationMessage {
            topic: topic.to_owned(),
            utc_time: String::new(),
            property_operation: operation.to_owned(),
            source: pairs(&[("VideoSourceToken", "1"), ("Rule", "a")]),
            data: pairs(data),
        }
    }

    #[test]
    fn a_state_is_found_by_its_usual_names_or_when_it_is_the_only_one() {
        let state = |data: &[(&str, &str)]| notice(message("t", "", data)).state;
        assert_eq!(state(&[("IsMotion", "true"), ("Other", "false")]), Some(true));
        assert_eq!(state(&[("State", "0")]), Some(false));
        assert_eq!(state(&[("Vendor", "false"), ("Count", "1")]), Some(false));
        assert_eq!(state(&[("A", "true"), ("B", "false")]), None);
        assert_eq!(state(&[("ObjectId", "1")]), None, "a number alone is no state");
        let said = notice(message("tns1:RuleEngine/tnsvendor:Cell/Motion", "Initialized", &[]));
        assert_eq!(said.topic, "RuleEngine/Cell/Motion");
        assert_eq!(said.source, "Rule=a VideoSourceToken=1");
        assert!(said.initial && !said.gone);
    }
}
