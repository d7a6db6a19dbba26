//! Shapes made at run time from a model's JSON, and values that are read and written by them.

use std::cell::RefCell;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wire::{
    Body, DecodeError, Encode, Kind, Location, Member, Reader, Schema, Timestamp, TimestampFormat,
    Writer,
};

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// The shapes of a suite.
pub struct Shapes {
    model: Value,
    ec2: bool,
    made: RefCell<HashMap<String, &'static Schema>>,
}

impl Shapes {
    pub fn new(model: Value, ec2: bool) -> Shapes {
        Shapes {
            model,
            ec2,
            made: RefCell::default(),
        }
    }
    /// The schema of a shape; `used` may carry a `locationName` for its element.
    pub fn get(&self, name: &str, used: &Value) -> &'static Schema {
        if let Some(made) = self.made.borrow().get(name) {
            return made;
        }
        let shape = &self.model[name];
        // A recursive shape is cut at a depth that no case reaches.
        let deep = name.matches('\u{1}').count();
        assert!(deep == 0);
        self.build(name, shape, used, 0)
    }
    fn build(&self, name: &str, shape: &Value, used: &Value, depth: usize) -> &'static Schema {
        let kind = match shape["type"].as_str().unwrap_or("") {
            "structure" if shape["document"] == true => Kind::Document,
            "structure" if shape["union"] == true => Kind::Union,
            "structure" => Kind::Structure,
            "list" => Kind::List,
            "map" => Kind::Map,
            "blob" => Kind::Blob,
            "boolean" => Kind::Boolean,
            "integer" | "short" | "byte" => Kind::Integer,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "timestamp" => Kind::Timestamp,
            _ => Kind::String,
        };
        let mut schema = Schema::new(leak(name), kind);
        if depth < 12 {
            let members: Vec<Member> = match kind {
                Kind::Structure | Kind::Union => {
                    let members = shape["members"].as_object().cloned().unwrap_or_default();
                    members
                        .iter()
                        .map(|(n, m)| self.member(n, m, shape, depth))
                        .collect()
                }
                Kind::List => vec![self.member("member", &shape["member"], shape, depth)],
                Kind::Map => vec![
                    self.member("key", &shape["key"], shape, depth),
                    self.member("value", &shape["value"], shape, depth),
                ],
                _ => Vec::new(),
            };
            schema.members = Vec::leak(members);
        }
        schema.element = shape["locationName"]
            .as_str()
            .or(used["locationName"].as_str())
            .map(leak);
        if let Some(prefix) = shape["xmlNamespace"]["prefix"].as_str() {
            schema.namespace = Some((
                leak(prefix),
                leak(shape["xmlNamespace"]["uri"].as_str().unwrap_or("")),
            ));
        }
        schema.sparse = shape["sparse"] == true;
        Box::leak(Box::new(schema))
    }
    fn member(&self, name: &str, m: &Value, owner: &Value, depth: usize) -> Member {
        let shape = &self.model[m["shape"].as_str().unwrap_or("")];
        let target = self.build(
            m["shape"].as_str().unwrap_or(""),
            shape,
            &Value::Null,
            depth + 1,
        );
        let mut member = Member::new(leak(name), target);
        if let Some(wire) = m["locationName"].as_str() {
            member.wire = leak(wire);
        }
        if self.ec2 {
            let upper = |s: &str| s[..1].to_uppercase() + &s[1..];
            let query = m["queryName"]
                .as_str()
                .map(str::to_owned)
                .or(m["locationName"].as_str().map(upper));
            member.query = leak(&query.unwrap_or_else(|| upper(name)));
        }
        member.location = match m["location"].as_str() {
            _ if owner["payload"].as_str() == Some(name) => Location::Payload,
            Some("header") => Location::Header,
            Some("headers") => Location::Headers,
            Some("uri") => Location::Uri,
            Some("querystring") => Location::Query,
            Some("statusCode") => Location::StatusCode,
            _ => Location::Body,
        };
        member.flattened = m["flattened"] == true || shape["flattened"] == true;
        member.attribute = m["xmlAttribute"] == true;
        member.json_value = m["jsonvalue"] == true;
        member.format = match m["timestampFormat"]
            .as_str()
            .or(shape["timestampFormat"].as_str())
        {
            Some("iso8601") => Some(TimestampFormat::Iso8601),
            Some("rfc822") => Some(TimestampFormat::Rfc822),
            Some("unixTimestamp") => Some(TimestampFormat::UnixTimestamp),
            _ => None,
        };
        let ns = if m["xmlNamespace"].is_object() {
            &m["xmlNamespace"]
        } else {
            &shape["xmlNamespace"]
        };
        if let Some(uri) = ns["uri"].as_str() {
            member.namespace = Some((leak(ns["prefix"].as_str().unwrap_or("")), leak(uri)));
        }
        member
    }
}

/// Reads a value of that shape into JSON: blobs as base64, timestamps as seconds.
pub fn read(r: &mut dyn Reader, schema: &'static Schema) -> Result<Value, DecodeError> {
    let root = Box::leak(Box::new(Member::new("root", schema)));
    value(r, root)
}

fn value(r: &mut dyn Reader, m: &'static Member) -> Result<Value, DecodeError> {
    let schema = m.target;
    Ok(match schema.kind {
        Kind::Structure | Kind::Union => {
            let mut map = Map::new();
            r.structure(schema, &mut |r, i| {
                let member = &schema.members[i];
                let v = value(r, member)?;
                match (map.get_mut(member.name), v) {
                    (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
                    (_, v) => drop(map.insert(member.name.to_owned(), v)),
                }
                Ok(())
            })?;
            Value::Object(map)
        }
        Kind::List => {
            let mut items = Vec::new();
            r.list(schema, &mut |r| {
                if !r.is_null() {
                    items.push(value(r, &schema.members[0])?);
                } else if schema.sparse {
                    items.push(Value::Null);
                }
                Ok(())
            })?;
            Value::Array(items)
        }
        Kind::Map => {
            let mut map = Map::new();
            r.map(schema, &mut |k, r| {
                if !r.is_null() {
                    map.insert(k, value(r, &schema.members[1])?);
                } else if schema.sparse {
                    map.insert(k, Value::Null);
                }
                Ok(())
            })?;
            Value::Object(map)
        }
        Kind::String if m.json_value && m.location == Location::Header => {
            let text = r.string()?;
            match serde_json::from_str(&text) {
                Ok(v @ (Value::Object(_) | Value::Array(_))) => v,
                _ => Value::String(text),
            }
        }
        Kind::String => Value::String(r.string()?),
        Kind::Boolean => Value::Bool(r.boolean()?),
        Kind::Integer | Kind::Long => json!(r.long()?),
        Kind::Float | Kind::Double => number(r.double()?),
        Kind::Blob | Kind::Stream | Kind::Events => Value::String(STANDARD.encode(r.blob()?)),
        Kind::Timestamp => number(r.timestamp(m)?.millis() as f64 / 1000.0),
        Kind::Document => r.document()?,
    })
}

fn number(v: f64) -> Value {
    if v.is_nan() {
        json!("NaN")
    } else if v.is_infinite() {
        json!(if v > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(v)
    }
}

/// A case's parameters in the form that [`read`] gives: blobs become base64.
pub fn normal(v: &Value, schema: &'static Schema) -> Value {
    match (schema.kind, v) {
        (Kind::Structure | Kind::Union, Value::Object(o)) => {
            let entries = o.iter().map(|(k, v)| {
                let member = schema.members.iter().find(|m| m.name == k);
                (
                    k.clone(),
                    member.map_or_else(|| v.clone(), |m| normal(v, m.target)),
                )
            });
            Value::Object(entries.collect())
        }
        (Kind::List, Value::Array(a)) => Value::Array(
            a.iter()
                .map(|v| normal(v, schema.members[0].target))
                .collect(),
        ),
        (Kind::Map, Value::Object(o)) => Value::Object(
            o.iter()
                .map(|(k, v)| (k.clone(), normal(v, schema.members[1].target)))
                .collect(),
        ),
        (Kind::Blob, Value::String(s)) => Value::String(STANDARD.encode(s)),
        _ => v.clone(),
    }
}

/// A value that is written by its shape.
pub struct Output {
    pub schema: &'static Schema,
    pub value: Value,
}

impl Encode for Output {
    fn schema(&self) -> &'static Schema {
        self.schema
    }
    fn encode(&self, w: &mut dyn Writer) {
        write(
            w,
            Box::leak(Box::new(Member::new("root", self.schema))),
            &self.value,
        );
    }
    fn take_body(&mut self) -> Option<Body> {
        None
    }
}

fn write(w: &mut dyn Writer, m: &'static Member, v: &Value) {
    let schema = m.target;
    let float = |v: &Value| match v.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => v.as_f64().unwrap_or(0.0),
    };
    match schema.kind {
        _ if v.is_null() && schema.kind != Kind::Document => w.null(),
        Kind::Structure | Kind::Union => {
            w.structure(schema);
            let (attributes, rest): (Vec<_>, Vec<_>) =
                schema.members.iter().partition(|m| m.attribute);
            for member in attributes.into_iter().chain(rest) {
                if let Some(v) = v.get(member.name) {
                    w.member(member);
                    write(w, member, v);
                }
            }
            w.end_structure();
        }
        Kind::List => {
            let items = v.as_array().cloned().unwrap_or_default();
            w.list(schema, items.len());
            for item in &items {
                w.element();
                write(w, &schema.members[0], item);
            }
            w.end_list();
        }
        Kind::Map => {
            let entries = v.as_object().cloned().unwrap_or_default();
            w.map(schema, entries.len());
            for (k, v) in &entries {
                w.key(k);
                write(w, &schema.members[1], v);
            }
            w.end_map();
        }
        Kind::String if m.json_value && !v.is_string() => w.string(&v.to_string()),
        Kind::String => w.string(v.as_str().unwrap_or("")),
        Kind::Boolean => w.boolean(v.as_bool().unwrap_or(false)),
        Kind::Integer | Kind::Long => w.long(v.as_i64().unwrap_or(0)),
        Kind::Float => w.float(float(v) as f32),
        Kind::Double => w.double(float(v)),
        Kind::Blob | Kind::Stream | Kind::Events => {
            w.blob(
                &STANDARD
                    .decode(v.as_str().unwrap_or(""))
                    .unwrap_or_default(),
            );
        }
        Kind::Timestamp => w.timestamp(Timestamp::from_secs_f64(float(v)).unwrap_or_default()),
        Kind::Document => w.document(v),
    }
}
