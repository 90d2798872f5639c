//! Spans that are too long for a datagram.

use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::cmp::Reverse;

/// Attributes from this size on are left out before anything else is.
const LARGE: usize = 1_000;

/// Bytes of a name or a description that are kept.
const TEXT: usize = 250;

/// Whether a span has as many bytes as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Whole,
    /// Some parts of it are left out, and counted in it.
    Cut,
    TooLong,
}

/// Takes from a span what is too long: large attributes, events, links, other attributes, the ends of texts, in this order, the largest first.
pub(super) fn fit(span: &mut Span, most: usize) -> Fit {
    let Some(mut excess) = span.encoded_len().checked_sub(most).filter(|excess| *excess > 0) else { return Fit::Whole };
    // Their counts take room themselves: four counts in each list, and lengths.
    excess += 64;
    span.dropped_attributes_count += largest(&mut span.attributes, &mut excess, LARGE);
    for event in &mut span.events {
        event.dropped_attributes_count += largest(&mut event.attributes, &mut excess, LARGE);
    }
    for link in &mut span.links {
        link.dropped_attributes_count += largest(&mut link.attributes, &mut excess, LARGE);
    }
    span.dropped_events_count += largest(&mut span.events, &mut excess, 0);
    span.dropped_links_count += largest(&mut span.links, &mut excess, 0);
    span.dropped_attributes_count += largest(&mut span.attributes, &mut excess, 0);
    if excess > 0 {
        truncate(&mut span.name);
        if let Some(status) = &mut span.status {
            truncate(&mut status.message);
        }
    }
    if span.encoded_len() <= most { Fit::Cut } else { Fit::TooLong }
}

/// Leaves out the largest of the items that have at least `least` bytes, until the excess is gone. Returns how many.
pub(super) fn largest<T: Message>(items: &mut Vec<T>, excess: &mut usize, least: usize) -> u32 {
    if *excess == 0 {
        return 0;
    }
    let mut sizes: Vec<(usize, usize)> = items.iter().map(Message::encoded_len).enumerate().collect();
    sizes.retain(|(_, size)| *size >= least);
    sizes.sort_by_key(|(_, size)| Reverse(*size));
    let mut leaves = vec![false; items.len()];
    let mut count = 0;
    for (at, size) in sizes {
        if *excess == 0 {
            break;
        }
        leaves[at] = true;
        count += 1;
        *excess = excess.saturating_sub(size);
    }
    let mut leaves = leaves.into_iter();
    items.retain(|_| !leaves.next().unwrap_or(false));
    count
}

fn truncate(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT));
}
