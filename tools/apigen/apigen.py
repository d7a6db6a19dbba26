#!/usr/bin/env python3
"""Writes a service's `src/api.rs` and `src/errors.rs` from botocore's model.

    apigen.py services/sqs [services/...]      writes the files
    apigen.py --check services/sqs             fails where they would differ

A service's `api.toml` names the model, how constraints are reported, and the operations with their fidelity;
only those and the shapes they reach are generated. `patches.toml` holds where model and real service differ.
"""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import botocore
import botocore.loaders

HERE = pathlib.Path(__file__).resolve().parent
KEYWORDS = set("as break const continue crate else enum extern false fn for if impl in let loop match mod move mut pub ref "
               "return self Self static struct super trait true type unsafe use where while async await dyn abstract become "
               "box do final macro override priv typeof unsized virtual yield try gen".split())
TAKEN = {"Option", "Vec", "String", "Result", "Body", "Bytes", "Box", "Event", "EventStream", "Fault", "Schema", "Member",
         "Kind", "Location", "Operation", "Timestamp", "Reader", "Writer", "Audit", "Read", "Scalar", "Encode", "Decode",
         "Context", "Api", "Call", "Handler", "Default", "Clone", "Debug", "Some", "None", "Ok", "Err", "Arc", "Protocol",
         "Fidelity", "ServiceModel", "Validation", "BTreeMap", "Send", "Sync", "Value", "TimestampFormat", "DecodeError"}
SCALARS = {"string": "String", "blob": "Bytes", "boolean": "bool", "integer": "i32", "long": "i64", "float": "f32",
           "double": "f64", "timestamp": "Timestamp", "character": "String", "byte": "i32", "short": "i32",
           "bigdecimal": "f64", "biginteger": "i64"}
KINDS = {"string": "String", "blob": "Blob", "boolean": "Boolean", "integer": "Integer", "long": "Long", "float": "Float",
         "double": "Double", "timestamp": "Timestamp", "list": "List", "map": "Map", "structure": "Structure",
         "character": "String", "byte": "Integer", "short": "Integer", "bigdecimal": "Double", "biginteger": "Long"}
PROTOCOLS = {"json": None, "rest-json": "RestJson", "rest-xml": "RestXml", "query": "AwsQuery", "ec2": "Ec2Query",
             "smithy-rpc-v2-cbor": "RpcV2Cbor", "cbor": "AwsCbor11"}
FORMATS = {"iso8601": "Iso8601", "rfc822": "Rfc822", "unixTimestamp": "UnixTimestamp"}


def snake(name):
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name)
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).lower().strip("_")
    return name


def ident(name):
    s = snake(name)
    if s[:1].isdigit():
        s = "_" + s
    return "r#" + s if s in KEYWORDS and s not in ("self", "super", "crate") else s


def literal(text):
    if '"' in text or "\\" in text or any(ord(c) < 32 or ord(c) > 126 for c in text):
        hashes = "#"
        while f'"{hashes}' in text:
            hashes += "#"
        return f'r{hashes}"{text}"{hashes}'
    return f'"{text}"'


class Service:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.config = tomllib.loads((self.folder / "api.toml").read_text())
        loader = botocore.loaders.Loader()
        self.model = loader.load_service_model(self.config["model"], "service-2", self.config.get("api_version"))
        self.shapes = self.model["shapes"]
        self.meta = self.model["metadata"]
        name = self.folder.name
        patches = tomllib.loads((HERE / "patches.toml").read_text()).get(name, {})
        for shape, element in patches.get("elements", {}).items():
            self.shapes[shape]["element"] = element
        for shape, pattern in patches.get("patterns", {}).items():
            self.shapes[shape]["pattern"] = pattern
        for shape in patches.get("sensitive", {}).get("shapes", []):
            self.shapes[shape]["sensitive"] = True
        for shape, values in patches.get("enum_order", {}).items():
            if set(values) != set(self.shapes[shape]["enum"]):
                sys.exit(f"patches.toml: {name} {shape}: the model's values are {self.shapes[shape]['enum']}")
            self.shapes[shape]["enum"] = values
        for op, status in patches.get("status", {}).items():
            self.model["operations"][op]["http"]["responseCode"] = status
        for shape in patches.get("says_status", {}).get("shapes", []):
            self.shapes.setdefault("AnswerStatus", {"type": "integer"})
            self.shapes[shape]["members"]["StatusCode"] = {"shape": "AnswerStatus", "location": "statusCode"}
        for shape in patches.get("open_enums", {}).get("shapes", []):
            if shape in self.shapes:
                self.shapes[shape].pop("enum", None)
        if patches.get("checks_presence"):
            for shape in self.shapes.values():
                shape.pop("required", None)
        for shape, code in patches.get("query_errors", {}).items():
            code, _, status = code.partition(" ")
            self.shapes[shape]["error"] = {"code": code, "httpStatusCode": int(status or 400)}
        for place, names in patches.get("flat_names", {}).items():
            shape, member = place.split(".")
            names, *entry = names.split(" ")
            member = self.shapes[shape]["members"][member]
            member["flatName"] = names
            if entry:
                target = self.shapes[member["shape"]]
                target["key"]["locationName"], target["value"]["locationName"] = entry
        for shape, first in patches.get("order", {}).items():
            members = self.shapes[shape]["members"]
            self.shapes[shape]["members"] = {name: members[name] for name in [*first, *members]}
        for shape, members in patches.get("optional", {}).items():
            self.shapes[shape]["required"] = [m for m in self.shapes[shape]["required"] if m not in members]
        # Shapes that the service writes by hand: the type and its schema.
        self.native = patches.get("native", {})
        self.operations = self.config["operations"]
        unknown = set(self.operations) - set(self.model["operations"])
        if unknown:
            sys.exit(f"{folder}/api.toml: not in the model: {sorted(unknown)}")
        self.rest = self.meta["protocol"].startswith("rest")
        self.name_shapes()
        self.reach()

    # -- which shapes, under which names -------------------------------------------------------------------------
    def name_shapes(self):
        uses = {}
        for op in self.model["operations"].values():
            for side in ("input", "output"):
                if side in op:
                    uses.setdefault(op[side]["shape"], []).append((op["name"], side))
        nested = set()
        for s in self.shapes.values():
            for m in list(s.get("members", {}).values() if isinstance(s.get("members"), dict) else []):
                nested.add(m["shape"])
            for k in ("member", "key", "value"):
                if k in s:
                    nested.add(s[k]["shape"])
        self.names = {}
        self.aliases = []
        self.empties = []
        for op in sorted(self.operations):
            for side in ("input", "output"):
                wanted = op + side.capitalize()
                shape = self.model["operations"][op].get(side, {}).get("shape")
                if shape is None:
                    self.empties.append(wanted)
                elif len(uses[shape]) == 1 and shape not in nested and (wanted == shape or wanted not in self.shapes):
                    self.names[shape] = wanted
                elif shape != wanted:
                    self.aliases.append((wanted, shape))
        taken = set(self.names.values())
        for shape in self.shapes:
            if shape not in self.names:
                n = shape[0].upper() + shape[1:]
                if n in TAKEN or n in taken:
                    n += "Shape"
                self.names[shape] = n
        self.aliases = [(a, self.names[s]) for a, s in self.aliases if a != self.names[s]]

    def reach(self):
        self.inputs, self.outputs, self.errors = set(), set(), set()
        for op in self.operations:
            o = self.model["operations"][op]
            if "input" in o:
                self.walk(o["input"]["shape"], self.inputs)
            if "output" in o:
                self.walk(o["output"]["shape"], self.outputs)
            for e in o.get("errors", []):
                self.errors.add(e["shape"])
        for e in self.config.get("errors", []):
            self.errors.add(e)
        for e in self.errors:
            if self.extra_members(e):
                self.walk(e, self.outputs)
        self.outputs |= set()
        for extra in self.config.get("encode", []):
            self.walk(extra, self.outputs)
        for extra in self.config.get("decode", []):
            self.walk(extra, self.inputs)

    def walk(self, shape, seen):
        if shape in seen or shape in self.native:
            return
        seen.add(shape)
        s = self.shapes[shape]
        for m in self.members(s):
            self.walk(m["shape"], seen)

    def members(self, s):
        if s["type"] == "structure":
            return list(s.get("members", {}).values())
        if s["type"] == "list":
            return [s["member"]]
        if s["type"] == "map":
            return [s["key"], s["value"]]
        return []

    def extra_members(self, e):
        return [m for m in self.shapes[e].get("members", {}) if m.lower() not in ("message", "type")]

    # -- types ---------------------------------------------------------------------------------------------------
    def is_stream(self, owner, name, m):
        s = self.shapes[m["shape"]]
        return s["type"] == "blob" and (m.get("streaming") or s.get("streaming"))

    def is_document(self, s):
        return s["type"] == "structure" and s.get("document")

    def rust(self, shape):
        if shape in self.native:
            return self.native[shape][0]
        s = self.shapes[shape]
        t = s["type"]
        if t == "list":
            inner = self.rust(s["member"]["shape"])
            return f"Vec<Option<{inner}>>" if s.get("sparse") else f"Vec<{inner}>"
        if t == "map":
            inner = self.rust(s["value"]["shape"])
            return f"BTreeMap<String, Option<{inner}>>" if s.get("sparse") else f"BTreeMap<String, {inner}>"
        if self.is_document(s):
            return "Value"
        if t == "structure":
            return "EventStream" if s.get("eventstream") else self.names[shape]
        return SCALARS[t]

    def boxed(self, owner, shape):
        """Whether a direct member of that shape leads back to its owner without a list or map between."""
        seen, todo = set(), [shape]
        while todo:
            x = todo.pop()
            if x == owner:
                return True
            if x in seen or x in self.native or self.shapes[x]["type"] != "structure":
                continue
            seen.add(x)
            todo += [m["shape"] for m in self.shapes[x].get("members", {}).values()]
        return False

    def static(self, shape):
        return "S_" + snake(shape).upper()

    def constrained(self, s):
        return any(k in s for k in ("min", "max", "pattern", "enum")) or s.get("sensitive")

    def target(self, shape, stream=False):
        s = self.shapes[shape]
        if shape in self.native:
            return self.native[shape][1]
        if stream:
            return "wire::schema::STREAM"
        if self.is_document(s):
            return "wire::schema::DOCUMENT"
        if s["type"] in ("structure", "list", "map") or self.constrained(s):
            return self.static(shape)
        return f"wire::schema::{KINDS[s['type']].upper()}"

    # -- schemas -------------------------------------------------------------------------------------------------
    def member_schema(self, owner, name, m, required):
        s = self.shapes[m["shape"]]
        stream = self.is_stream(owner, name, m)
        out = f"Member::new({literal(name)}, &{self.target(m['shape'], stream)})"
        location = m.get("location")
        wire = m.get("locationName", s.get("locationName") if s["type"] == "structure" and False else None)
        if owner.get("payload") == name:
            out += f".at(Location::Payload, {literal(wire or name)})"
        elif location:
            place = {"header": "Header", "headers": "Headers", "uri": "Uri", "querystring": "Query",
                     "statusCode": "StatusCode"}[location]
            out += f".at(Location::{place}, {literal(wire or name)})"
        elif wire and wire != name:
            out += f".wire({literal(wire)})"
        if self.meta["protocol"] == "ec2":
            q = m.get("queryName") or (wire and wire[0].upper() + wire[1:]) or name[0].upper() + name[1:]
            if q != name:
                out += f".query({literal(q)})"
        if required:
            out += ".required()"
        element = s.get("member", {}).get("locationName") if s["type"] == "list" else None
        if m.get("flatName"):
            out += f".flattened_as({literal(m['flatName'])})"
        elif s.get("flattened") and element and not (wire and wire != name):
            out += f".flattened_as({literal(element)})"
        elif m.get("flattened") or s.get("flattened"):
            out += ".flattened()"
        if m.get("xmlAttribute"):
            out += ".attribute()"
        if m.get("jsonvalue"):
            out += ".json_value()"
        fmt = m.get("timestampFormat") or (s.get("timestampFormat") if s["type"] == "timestamp" else None)
        if fmt:
            out += f".format(TimestampFormat::{FORMATS[fmt]})"
        ns = m.get("xmlNamespace")
        if ns:
            ns = {"uri": ns} if isinstance(ns, str) else ns
            out += f".namespace({literal(ns.get('prefix', ''))}, {literal(ns['uri'])})"
        return out

    def schema(self, shape):
        s = self.shapes[shape]
        kind = KINDS[s["type"]]
        if s.get("union"):
            kind = "Union"
        if s.get("eventstream"):
            kind = "Events"
        out = f"Schema::new({literal(shape)}, Kind::{kind})"
        if s["type"] == "structure":
            required = set(s.get("required", []))
            members = [self.member_schema(s, n, m, n in required) for n, m in s.get("members", {}).items()]
        elif s["type"] == "list":
            members = [self.member_schema(s, "member", s["member"], False)]
        elif s["type"] == "map":
            members = [self.member_schema(s, "key", s["key"], False), self.member_schema(s, "value", s["value"], False)]
        else:
            members = []
        if members:
            out += f".members(&[{', '.join(members)}])"
        for k in ("min", "max"):
            if k in s and float(s[k]).is_integer() and abs(s[k]) < 2 ** 63:
                out += f".{k}({int(s[k])})"
        if "pattern" in s:
            out += f".pattern({literal(s['pattern'])})"
        if "enum" in s:
            out += f".values(&[{', '.join(literal(v) for v in s['enum'])}])"
        if s.get("element") or (s["type"] == "structure" and s.get("locationName")):
            out += f".element({literal(s.get('element') or s['locationName'])})"
        ns = s.get("xmlNamespace")
        if ns and not isinstance(ns, str) and s["type"] == "structure" and ns.get("prefix"):
            out += f".namespace({literal(ns['prefix'])}, {literal(ns['uri'])})"
        if s.get("sparse"):
            out += ".sparse()"
        if s.get("sensitive"):
            out += ".sensitive()"
        return f"static {self.static(shape)}: Schema = {out};"

    # -- code ----------------------------------------------------------------------------------------------------
    def reader(self, shape):
        if shape in self.native:
            return f"<{self.rust(shape)} as Read>::read"
        s = self.shapes[shape]
        if s["type"] == "list":
            return f"|r, a, m| decode::inner_list(r, a, m, {self.element_reader(s['member']['shape'], s)})"
        if s["type"] == "map":
            return f"|r, a, m| decode::inner_map(r, a, m, {self.element_reader(s['value']['shape'], s)})"
        if s["type"] == "structure" and not self.is_document(s):
            return f"decode::nested::<{self.names[shape]}>"
        return f"<{self.rust(shape)} as Read>::read"

    def element_reader(self, shape, container):
        inner = self.reader(shape)
        if container.get("sparse"):
            return f"|r, a, m| if r.is_null() {{ Ok(None) }} else {{ ({inner})(r, a, m).map(Some) }}"
        return inner

    def writer(self, value, shape, schema):
        if shape in self.native:
            return f"{value}.write(w);" if self.native[shape][0] == "Value" else f"{value}.encode(w);"
        s = self.shapes[shape]
        if s["type"] in ("list", "map"):
            at = "0" if s["type"] == "list" else "1"
            inner = s["member" if s["type"] == "list" else "value"]["shape"]
            body = self.writer("v", inner, f"{schema}.members[{at}].target")
            if s.get("sparse"):
                body = f"match v {{ Some(v) => {{ {body} }} None => w.null() }}"
            return f"encode::{s['type']}(w, {schema}, {value}, |w, v| {{ {body} }});"
        if s["type"] == "structure" and not self.is_document(s):
            return f"{value}.encode(w);"
        return f"{value}.write(w);"

    def structure(self, shape):
        s, name, out = self.shapes[shape], self.names[shape], []
        if s.get("eventstream"):
            return self.events(shape)
        if s.get("union"):
            return self.union(shape)
        members = s.get("members", {})
        required = set(s.get("required", []))
        fields, has_stream = [], False
        for n, m in members.items():
            t = "Body" if self.is_stream(s, n, m) else self.rust(m["shape"])
            has_stream |= t in ("Body", "EventStream")
            if self.shapes[m["shape"]]["type"] == "structure" and self.boxed(shape, m["shape"]):
                t = f"Box<{t}>"
            optional = (n not in required or t == "EventStream") and t != "Body"
            fields.append((n, m, ident(n), t, optional))
        derive = "Default" if has_stream else "Clone, Debug, Default"
        if any(not o and self.shapes[m["shape"]].get("union") for _, m, _, _, o in fields):
            derive = derive.replace(", Default", "").replace("Default", "")
        out.append(f"/// `{shape}`\n#[derive({derive})]\npub struct {name} {{")
        out += [f"pub {f}: {'Option<' + t + '>' if o else t}," for _, _, f, t, o in fields]
        out.append("}")
        if shape in self.inputs:
            out.append(self.decode(shape, name, fields))
        if shape in self.outputs:
            out.append(self.encode(shape, name, fields))
        return "\n".join(out)

    def decode(self, shape, name, fields):
        st = self.static(shape)
        out = [f"impl Decode for {name} {{ const SCHEMA: &'static Schema = &{st};",
               "fn decode(r: &mut dyn Reader, a: &mut Audit) -> Result<Self, DecodeError> {"]
        fields = [f for f in fields if f[3] != "EventStream"]
        if not fields:
            out.append(f"let _ = a; r.structure(&{st}, &mut |_, _| Ok(()))?; Ok({name} {{ ..Default::default() }}) }} }}")
            return "\n".join(out)
        out.append(f"let m = {st}.members;")
        index = {n: i for i, n in enumerate(self.shapes[shape]["members"])}
        arms = []
        for n, m, f, t, o in fields:
            i, sh = index[n], self.shapes[m["shape"]]
            out.append(f"let mut {f} = None;")
            if t == "Body":
                arms.append(f"{i} => {f} = Some(<Body as Read>::read(r, a, &m[{i}])?),")
            elif m["shape"] in self.native:
                arms.append(f"{i} => {f} = Some(Read::read(r, a, &m[{i}])?),")
            elif sh["type"] in ("list", "map"):
                inner = sh["member" if sh["type"] == "list" else "value"]["shape"]
                arms.append(f"{i} => decode::{sh['type']}(r, a, &m[{i}], &mut {f}, {self.element_reader(inner, sh)})?,")
            elif t.startswith("Box<"):
                arms.append(f"{i} => {f} = Some(Box::new(decode::nested(r, a, &m[{i}])?)),")
            elif sh["type"] == "structure" and t != "Value":
                arms.append(f"{i} => {f} = Some(decode::nested(r, a, &m[{i}])?),")
            else:
                arms.append(f"{i} => {f} = Some(Read::read(r, a, &m[{i}])?),")
        out.append(f"r.structure(&{st}, &mut |r, i| {{ match i {{ {' '.join(arms)} _ => {{}} }} Ok(()) }})?;")
        req = [(index[n], f) for n, m, f, t, o in fields if not o and t != "Body"]
        for i, f in req:
            out.append(f"if {f}.is_none() {{ a.missing(&m[{i}]); }}")
        if req:
            names = ", ".join(f for _, f in req)
            out.append(f"let ({', '.join(f'Some({f})' for _, f in req)},) = ({names},) else {{ return Err(DecodeError::Rejected) }};")
        inits = [f"{f}: {f}.unwrap_or_default()" if t == "Body" else f for _, _, f, t, _ in fields]
        rest = ", ..Default::default()" if len(fields) != len(index) else ""
        out.append(f"Ok({name} {{ {', '.join(inits)}{rest} }}) }} }}")
        return "\n".join(out)

    def encode(self, shape, name, fields):
        st = self.static(shape)
        out = [f"impl Encode for {name} {{ fn schema(&self) -> &'static Schema {{ &{st} }}",
               f"fn encode(&self, w: &mut dyn Writer) {{ w.structure(&{st});"]
        index = {n: i for i, n in enumerate(self.shapes[shape].get("members", {}))}
        takes = []
        for n, m, f, t, o in sorted(fields, key=lambda x: not x[1].get("xmlAttribute")):
            i = index[n]
            if t == "Body":
                takes.append(f"fn take_body(&mut self) -> Option<Body> {{ Some(std::mem::take(&mut self.{f})) }}")
                continue
            if t == "EventStream":
                takes.append(f"fn take_events(&mut self) -> Option<EventStream> {{ self.{f}.take() }}")
                continue
            body = self.writer("v", m["shape"], f"{st}.members[{i}].target")
            if o:
                out.append(f"if let Some(v) = &self.{f} {{ w.member(&{st}.members[{i}]); {body} }}")
            else:
                out.append(f"{{ let v = &self.{f}; w.member(&{st}.members[{i}]); {body} }}")
        out.append("w.end_structure(); }")
        out += takes
        out.append("}")
        return "\n".join(out)

    def union(self, shape):
        s, name, st = self.shapes[shape], self.names[shape], self.static(shape)
        variants = []
        for n, m in s["members"].items():
            t = self.rust(m["shape"])
            if self.shapes[m["shape"]]["type"] == "structure" and self.boxed(shape, m["shape"]):
                t = f"Box<{t}>"
            variants.append((n, m, n[0].upper() + n[1:], t))
        variants = [(n, m, v.replace("_", "") if not v[0].isdigit() else "V" + v, t) for n, m, v, t in variants]
        out = [f"/// `{shape}`\n#[derive(Clone, Debug)]\npub enum {name} {{"]
        out += [f"{v}({t})," for _, _, v, t in variants]
        out.append("}")
        if shape in self.inputs:
            out += [f"impl Decode for {name} {{ const SCHEMA: &'static Schema = &{st};",
                    "fn decode(r: &mut dyn Reader, a: &mut Audit) -> Result<Self, DecodeError> {",
                    f"let m = {st}.members; let mut found = None; r.structure(&{st}, &mut |r, i| {{ match i {{"]
            for i, (n, m, v, t) in enumerate(variants):
                sh = self.shapes[m["shape"]]
                if sh["type"] in ("list", "map"):
                    inner = sh["member" if sh["type"] == "list" else "value"]["shape"]
                    out.append(f"{i} => {{ let mut v = None; decode::{sh['type']}(r, a, &m[{i}], &mut v, "
                               f"{self.element_reader(inner, sh)})?; found = v.map({name}::{v}); }}")
                elif t.startswith("Box<"):
                    out.append(f"{i} => found = Some({name}::{v}(Box::new(decode::nested(r, a, &m[{i}])?))),")
                elif sh["type"] == "structure" and t != "Value":
                    out.append(f"{i} => found = Some({name}::{v}(decode::nested(r, a, &m[{i}])?)),")
                else:
                    out.append(f"{i} => found = Some({name}::{v}(Read::read(r, a, &m[{i}])?)),")
            out.append('_ => {} } Ok(()) })?; found.ok_or_else(|| DecodeError::type_mismatch("one member of a union")) } }')
        if shape in self.outputs:
            out += [f"impl Encode for {name} {{ fn schema(&self) -> &'static Schema {{ &{st} }}",
                    f"fn encode(&self, w: &mut dyn Writer) {{ w.structure(&{st}); match self {{"]
            for i, (n, m, v, t) in enumerate(variants):
                body = self.writer("v", m["shape"], f"{st}.members[{i}].target")
                out.append(f"{name}::{v}(v) => {{ w.member(&{st}.members[{i}]); {body} }}")
            out.append("} w.end_structure(); } }")
        return "\n".join(out)

    def events(self, shape):
        s, st = self.shapes[shape], self.static(shape)
        out = [f"/// Events of `{shape}`\npub mod {snake(shape)} {{ use super::*;"]
        for i, (n, m) in enumerate(s["members"].items()):
            if self.shapes[m["shape"]].get("exception"):
                continue
            t = self.names[m["shape"]]
            out.append(f"pub fn {ident(n)}(value: {t}) -> Event {{ Event {{ member: &{st}.members[{i}], value: Box::new(value) }} }}")
        out.append("}")
        return "\n".join(out)

    def fix_event_payloads(self):
        for s in self.shapes.values():
            if s.get("event"):
                for n, m in s.get("members", {}).items():
                    if m.get("eventpayload"):
                        s["payload"] = n
                    if m.get("eventheader"):
                        m["location"] = "header"

    def enums(self):
        out = []
        for shape in sorted(self.inputs | self.outputs):
            s = self.shapes[shape]
            if s["type"] == "string" and "enum" in s and self.rust_enum_ok(shape):
                out.append(f"/// Values of `{shape}`\npub mod {ident(shape)} {{")
                seen = set()
                for v in s["enum"]:
                    c = re.sub(r"[^A-Za-z0-9]+", "_", v).upper().strip("_") or "EMPTY"
                    c = "_" + c if c[0].isdigit() else c
                    if c not in seen:
                        seen.add(c)
                        out.append(f"pub const {c}: &str = {literal(v)};")
                out.append("}")
        return "\n".join(out)

    def rust_enum_ok(self, shape):
        return snake(shape) not in {snake(s) for s in self.shapes if self.shapes[s].get("eventstream")}

    def api(self):
        self.fix_event_payloads()
        trait = self.config["trait"]
        reached = sorted(self.inputs | self.outputs)
        ops = sorted(self.operations)
        out = [f"// @generated by tools/apigen from botocore {botocore.__version__} ({self.config['model']} {self.meta['apiVersion']}). Do not edit.",
               "#![allow(missing_docs, unused_imports, unused_variables, unused_mut, dead_code, clippy::all)]",
               "use std::collections::BTreeMap; use std::future::Future; use std::sync::Arc;",
               "use cloud::{Call, Context, Handler}; use serde_json::Value;",
               "use wire::decode::{self, Read}; use wire::encode::{self, Scalar};",
               "use wire::{Audit, Body, Bytes, Decode, DecodeError, Encode, Event, EventStream, Fault, Fidelity, Kind, Location, Member,"
               " Operation, Protocol, Reader, Schema, ServiceModel, Timestamp, TimestampFormat, Validation, Writer};"]
        structs = [s for s in reached if self.shapes[s]["type"] == "structure" and not self.is_document(self.shapes[s])]
        out += [self.structure(s) for s in structs]
        for e in self.empties:
            out.append(f"/// Nothing.\n#[derive(Clone, Debug, Default)]\npub struct {e} {{}}")
            if e.endswith("Input"):
                out.append(f"impl Decode for {e} {{ const SCHEMA: &'static Schema = &wire::schema::EMPTY;"
                           f"fn decode(_: &mut dyn Reader, _: &mut Audit) -> Result<Self, DecodeError> {{ Ok({e} {{}}) }} }}")
            else:
                out.append(f"impl Encode for {e} {{ fn schema(&self) -> &'static Schema {{ &wire::schema::EMPTY }}"
                           f"fn encode(&self, w: &mut dyn Writer) {{ w.structure(&wire::schema::EMPTY); w.end_structure(); }} }}")
        out += [f"/// `{t}`\npub type {a} = {t};" for a, t in self.aliases]
        for s in reached:
            if self.shapes[s]["type"] in ("structure", "list", "map") and not self.is_document(self.shapes[s]) or \
                    (self.shapes[s]["type"] not in ("structure", "list", "map") and self.constrained(self.shapes[s])):
                out.append(self.schema(s))
        out.append(self.enums())
        out.append(self.service_model(ops))
        out.append(f"/// The operations that exist here.\npub trait {trait}: Send + Sync + 'static {{")
        for op in ops:
            out.append(f"/// `{op}`\nfn {ident(op)}(&self, ctx: &Context, input: {op}Input) -> impl Future<Output = Result<{op}Output, Fault>> + Send;")
        out.append("}")
        out.append(f"/// Dispatches calls to an implementation.\npub struct Api<T>(pub Arc<T>);\nimpl<T: {trait}> Handler for Api<T> {{"
                   "fn model(&self) -> &'static ServiceModel { &MODEL }"
                   "fn call<'a>(&'a self, operation: usize, ctx: &'a Context, r: &mut dyn Reader, a: &mut Audit) -> Result<Call<'a>, DecodeError> {"
                   "match operation {")
        for i, op in enumerate(ops):
            out.append(f"{i} => {{ let input = decode::input::<{op}Input>(r, a)?; Ok(Box::pin(async move {{ "
                       f"self.0.{ident(op)}(ctx, input).await.map(|o| Box::new(o) as Box<dyn Encode>) }})) }}")
        out.append('_ => Err(DecodeError::Malformed("no such operation".into())) } } }')
        return "\n".join(out)

    def refusal(self, operation):
        """The code of broken constraints where an operation lists ValidationException in place of the service's."""
        codes = {e["shape"] for e in operation.get("errors", [])}
        own = self.config["validation"]
        other = own not in ("s3", "ValidationException", "ValidationError") and own not in codes and "ValidationException" in codes
        return 'Some("ValidationException")' if other else "None"

    def service_model(self, ops):
        m = self.meta
        protocols = []
        for p in self.config.get("protocols") or m.get("protocols") or [m["protocol"]]:
            rust = PROTOCOLS[p] or ("AwsJson10" if m.get("jsonVersion") == "1.0" else "AwsJson11")
            protocols.append(f"Protocol::{rust}")
        validation = self.config["validation"]
        validation = "Validation::S3" if validation == "s3" else f"Validation::Listed({literal(validation)})"
        ns = m.get("xmlNamespace")
        if m["protocol"] == "rest-xml":
            ns = ns or "http://s3.amazonaws.com/doc/2006-03-01/"
        if m["protocol"] == "ec2":
            ns = ns or f"http://ec2.amazonaws.com/doc/{m['apiVersion']}/"
        ns = ns or self.config.get("namespace")
        out = [f"/// The service's model.\npub static MODEL: ServiceModel = ServiceModel {{ name: {literal(self.folder.name)}, "
               f"id: {literal(m['serviceId'])}, signing_name: {literal(m.get('signingName', m['endpointPrefix']))}, "
               f"endpoint_prefix: {literal(m['endpointPrefix'])}, api_version: {literal(m['apiVersion'])}, "
               f"protocols: &[{', '.join(protocols)}], target_prefix: "
               f"{'Some(' + literal(m['targetPrefix']) + ')' if 'targetPrefix' in m else 'None'}, "
               f"namespace: {'Some(' + literal(ns) + ')' if ns else 'None'}, "
               f"query_compatible: {'true' if 'awsQueryCompatible' in m else 'false'}, validation: {validation}, operations: &["]
        for op in ops:
            o = self.model["operations"][op]
            fidelity = {"real": "Real", "stored": "Stored"}[self.operations[op]]
            inp = f"&{self.static(o['input']['shape'])}" if "input" in o else "&wire::schema::EMPTY"
            outp = f"&{self.static(o['output']['shape'])}" if "output" in o else "&wire::schema::EMPTY"
            wrapper = o.get("output", {}).get("resultWrapper")
            out.append(f"Operation {{ name: {literal(op)}, method: {literal(o['http']['method'])}, uri: {literal(o['http']['requestUri'])}, "
                       f"status: {o['http'].get('responseCode', 200)}, input: {inp}, output: {outp}, "
                       f"wrapper: {'Some(' + literal(wrapper) + ')' if wrapper else 'None'}, fidelity: Fidelity::{fidelity}, "
                       f"refusal: {self.refusal(o)} }},")
        out.append("], absent: &[")
        for op, o in sorted(self.model["operations"].items()):
            if op not in self.operations:
                out.append(f"({literal(op)}, {literal(o['http']['method'])}, {literal(o['http']['requestUri'])}),")
        out.append("] };")
        return "\n".join(out)

    def error_functions(self):
        out = [f"// @generated by tools/apigen from botocore {botocore.__version__}. Do not edit.",
               "//! A constructor for each modelled error.",
               "#![allow(dead_code, unused_imports)]",
               "use std::borrow::Cow;", "use wire::Fault;"]
        query = self.meta["protocol"] in ("query", "ec2") or "awsQueryCompatible" in self.meta
        for e in sorted(self.errors):
            s = self.shapes[e]
            error = s.get("error", {})
            code = error.get("code", e) if query else e
            status = error.get("httpStatusCode") or (500 if s.get("fault") else 400)
            make = "receiver" if status >= 500 or s.get("fault") else "sender"
            extra = f".shape({literal(e)})" if "awsQueryCompatible" in self.meta and code != e else ""
            key = next((m.get("locationName", n) for n, m in s.get("members", {}).items() if n.lower() == "message"), "message")
            if key != "message":
                extra += f".message_key({literal(key)})"
            out.append(f"/// `{e}`, HTTP {status}.\npub fn {ident(e)}(message: impl Into<Cow<'static, str>>) -> Fault {{ "
                       f"Fault::{make}({status}, {literal(code)}, message){extra} }}")
        return "\n".join(out)


def rustfmt(text):
    p = subprocess.run(["rustfmt", "--edition", "2024", "--config", "max_width=100"], input=text, capture_output=True, text=True)
    if p.returncode:
        sys.stderr.write(p.stderr[:3000])
        sys.exit("rustfmt failed")
    return p.stdout


def main():
    check = "--check" in sys.argv
    stale = []
    for folder in [a for a in sys.argv[1:] if not a.startswith("-")]:
        service = Service(folder)
        for file, text in (("api.rs", service.api()), ("errors.rs", service.error_functions())):
            path = service.folder / "src" / file
            text = rustfmt(text)
            if check and (not path.exists() or path.read_text() != text):
                stale.append(str(path))
            elif not check:
                path.write_text(text)
                print(path, len(text.splitlines()), "lines")
    if stale:
        sys.exit(f"not as generated: {', '.join(stale)}; run `make api`")


if __name__ == "__main__":
    main()
