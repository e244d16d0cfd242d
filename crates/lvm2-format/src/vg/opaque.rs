//! What can be said of segments that are not understood: which names stand in them.
//!
//! What must hold:
//! - Better too much than too little: an extent that such a segment *may* use is not free, and an LV that it *may*
//!   name is not to be removed.

use crate::text::{Item, Node, Scalar, Value};

/// Whether the text `name` stands anywhere in `items` as a value.
pub(crate) fn names(items: &[Item], name: &str) -> bool {
    let is = |scalar: &Scalar| matches!(scalar, Scalar::Str(text) if text == name);
    items.iter().any(|item| match &item.node {
        Node::Value(Value::Scalar(scalar)) => is(scalar),
        Node::Value(Value::Array(scalars)) => scalars.iter().any(is),
        Node::Section(section) => names(&section.items, name),
    })
}

/// The pairs of a name and a number in lists of `items`: what areas look like in every type LVM2 has.
pub(crate) fn pairs(items: &[Item]) -> Vec<(&str, u32)> {
    let mut found = Vec::new();
    for item in items {
        match &item.node {
            Node::Value(Value::Scalar(_)) => {}
            Node::Value(Value::Array(scalars)) => {
                for (name, number) in scalars.iter().zip(scalars.iter().skip(1)) {
                    if let (Scalar::Str(name), Scalar::Int(number)) = (name, number)
                        && let Ok(number) = u32::try_from(*number)
                    {
                        found.push((name.as_str(), number));
                    }
                }
            }
            Node::Section(section) => found.extend(pairs(&section.items)),
        }
    }
    found
}
