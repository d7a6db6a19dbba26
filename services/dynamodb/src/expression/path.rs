//! Document paths: `a.b[3]`.

use std::fmt;

use crate::value::{Attributes, Value};

/// A step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a map.
    Name(String),
    /// Into a list.
    Index(usize),
}

/// A path: an attribute's name and the steps into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The attribute.
    pub root: String,
    /// The steps.
    pub steps: Vec<Step>,
}

impl fmt::Display for Path {
    /// As AWS's messages show it: `[a, b, [3]]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.root)?;
        for step in &self.steps {
            match step {
                Step::Name(name) => write!(f, ", {name}")?,
                Step::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}

/// How two paths of one request stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// One is the other or leads to it.
    Overlap,
    /// They take the same value for a map and for a list.
    Conflict,
}

impl Path {
    /// The path of a whole attribute.
    pub fn of(name: &str) -> Path {
        Path {
            root: name.to_owned(),
            steps: Vec::new(),
        }
    }

    /// What it leads to.
    pub fn find<'a>(&self, item: &'a Attributes) -> Option<&'a Value> {
        let mut value = item.get(&self.root)?;
        for step in &self.steps {
            value = match (step, value) {
                (Step::Name(name), Value::M(map)) => map.get(name)?,
                (Step::Index(index), Value::L(list)) => list.get(*index)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Whether it clashes with another one.
    pub fn clash(&self, other: &Path) -> Option<Clash> {
        if self.root != other.root {
            return None;
        }
        for (a, b) in self.steps.iter().zip(&other.steps) {
            match (a, b) {
                _ if a == b => {}
                (Step::Name(_), Step::Index(_)) | (Step::Index(_), Step::Name(_)) => {
                    return Some(Clash::Conflict);
                }
                _ => return None,
            }
        }
        Some(Clash::Overlap)
    }

    /// The value that its last step is taken in, to be changed; `Err` where the way there does not exist.
    pub fn parent<'a>(&self, item: &'a mut Attributes) -> Result<Slot<'a, '_>, NoWay> {
        let Some((last, way)) = self.steps.split_last() else {
            return Ok(Slot::Entry(item, &self.root));
        };
        let mut value = item.get_mut(&self.root).ok_or(NoWay)?;
        for step in way {
            value = match (step, value) {
                (Step::Name(name), Value::M(map)) => map.get_mut(name).ok_or(NoWay)?,
                (Step::Index(index), Value::L(list)) => list.get_mut(*index).ok_or(NoWay)?,
                _ => return Err(NoWay),
            };
        }
        match (last, value) {
            (Step::Name(name), Value::M(map)) => Ok(Slot::Entry(map, name)),
            (Step::Index(index), Value::L(list)) => Ok(Slot::Element(list, *index)),
            _ => Err(NoWay),
        }
    }
}

/// A path does not exist as far as it must.
#[derive(Debug)]
pub struct NoWay;

/// A place in a document that can be written to.
pub enum Slot<'a, 'n> {
    /// In a map.
    Entry(&'a mut Attributes, &'n str),
    /// In a list.
    Element(&'a mut Vec<Value>, usize),
}

impl Slot<'_, '_> {
    /// Puts a value there; behind the end of a list it is appended.
    pub fn put(self, value: Value) {
        match self {
            Slot::Entry(map, name) => {
                map.insert(name.to_owned(), value);
            }
            Slot::Element(list, index) => match list.get_mut(index) {
                Some(old) => *old = value,
                None => list.push(value),
            },
        }
    }

    /// Takes what is there away.
    pub fn remove(self) {
        match self {
            Slot::Entry(map, name) => {
                map.remove(name);
            }
            Slot::Element(list, index) => {
                if index < list.len() {
                    list.remove(index);
                }
            }
        }
    }
}
