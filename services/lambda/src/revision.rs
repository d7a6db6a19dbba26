//! RevisionIds: a function's, a version's or an alias's. Its resource policy shares it.

use store::{Read, Tx};
use wire::Fault;

use crate::name::{LATEST, Name};
use crate::state::State;

/// That a request was made for another revision; `call` tells which operation answers the present one.
pub fn stale(call: &str) -> Fault {
    let text = format!(
        "The Revision Id provided does not match the latest Revision Id. Call the {call} API to retrieve the latest Revision Id"
    );
    Fault::sender(412, "PreconditionFailedException", text)
}

/// Holds a request to the revision that it names.
pub fn check(asked: Option<&str>, is: &str, call: &str) -> Result<(), Fault> {
    match asked {
        Some(asked) if asked != is => Err(stale(call)),
        _ => Ok(()),
    }
}

/// The revision of what a qualifier means; none of what is not there.
pub fn of(read: &impl Read, state: &State, name: &Name) -> Result<Option<String>, Fault> {
    if name.qualifier() == LATEST {
        let function = Read::get(read, &state.functions, &name.key())?;
        return Ok(function.map(|f| f.latest.shown_revision().to_owned()));
    }
    if let Some(alias) = Read::get(read, &state.aliases, &name.qualified())? {
        return Ok(Some(alias.revision));
    }
    let Ok(number) = name.qualifier().parse::<u64>() else {
        return Ok(None);
    };
    let key = (&name.account, &name.region, &name.function, number);
    let version = Read::get(read, &state.versions, &key)?;
    Ok(version.map(|v| v.configuration.shown_revision().to_owned()))
}

/// Gives what a qualifier means another revision. What would be published stays as it is.
pub fn renew(state: &State, tx: &mut Tx<'_>, name: &Name) -> Result<(), Fault> {
    let revision = cloud::ids::uuid();
    if name.qualifier() == LATEST {
        if let Some(mut function) = tx.get(&state.functions, &name.key())? {
            function.latest.mark = Some(revision);
            tx.put(&state.functions, &name.key(), &function)?;
        }
        return Ok(());
    }
    if let Some(mut alias) = tx.get(&state.aliases, &name.qualified())? {
        alias.revision = revision;
        return Ok(tx.put(&state.aliases, &name.qualified(), &alias)?);
    }
    let Ok(number) = name.qualifier().parse::<u64>() else {
        return Ok(());
    };
    let key = (&name.account, &name.region, &name.function, number);
    if let Some(mut version) = tx.get(&state.versions, &key)? {
        version.configuration.mark = Some(revision);
        tx.put(&state.versions, &key, &version)?;
    }
    Ok(())
}
