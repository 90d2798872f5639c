//! One trace, put together from its documents.

use super::document::Document;
use std::{collections::HashMap, sync::Arc};

/// One trace: of every document the newest state, nested subsegments included.
#[derive(Clone, Debug)]
pub struct Trace {
    /// `Root` of the trace header.
    pub id: String,
    /// Segments and subsegments by start time, parents before children that start at the same time.
    pub documents: Vec<Arc<Document>>,
}

impl Trace {
    /// The trace of these documents, which are in the order of their arrival.
    pub(super) fn new<'d>(id: &str, documents: impl Iterator<Item = &'d Arc<Document>>) -> Self {
        let mut newest: Vec<Arc<Document>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for document in documents {
            match places.get(document.id.as_str()) {
                // UDP keeps no order: the news that something began does not undo that it ended.
                Some(&place) if document.in_progress && !newest[place].in_progress => {}
                Some(&place) => newest[place] = Arc::clone(document),
                None => {
                    places.insert(&document.id, newest.len());
                    newest.push(Arc::clone(document));
                }
            }
        }
        let depths: HashMap<String, usize> =
            newest.iter().map(|document| (document.id.clone(), depth(document, &newest, &places))).collect();
        newest.sort_by(|a, b| a.start.total_cmp(&b.start).then_with(|| depths[&a.id].cmp(&depths[&b.id])));
        Self { id: id.to_owned(), documents: newest }
    }

    /// The newest state of the document with this id.
    pub fn document(&self, id: &str) -> Option<&Arc<Document>> {
        self.documents.iter().find(|document| document.id == id)
    }

    /// The documents with this name, in the order of their starts.
    pub fn named(&self, name: &str) -> Vec<&Arc<Document>> {
        self.documents.iter().filter(|document| document.name == name).collect()
    }

    /// The documents right below the one with this id.
    pub fn children(&self, id: &str) -> Vec<&Arc<Document>> {
        self.documents.iter().filter(|document| document.parent_id.as_deref() == Some(id)).collect()
    }

    /// Seconds from the first start to the last end.
    pub fn duration(&self) -> f64 {
        let start = self.documents.iter().map(|document| document.start).fold(f64::INFINITY, f64::min);
        let end = self.documents.iter().map(|document| document.end.unwrap_or(document.start)).fold(start, f64::max);
        if start.is_finite() { end - start } else { 0.0 }
    }
}

/// How many ancestors a document has in its trace. Bounded by the number of documents, as parents may form a circle.
fn depth(document: &Document, all: &[Arc<Document>], places: &HashMap<&str, usize>) -> usize {
    let parent_of = |document: &Document| places.get(document.parent_id.as_deref()?).map(|&place| &all[place]);
    let mut ancestor = parent_of(document);
    let mut depth = 0;
    while let Some(found) = ancestor
        && depth < all.len()
    {
        depth += 1;
        ancestor = parent_of(found);
    }
    depth
}
