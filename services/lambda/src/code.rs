//! Zip files: taken in, kept as blobs, and unpacked where sandboxes can be shown them.
#![allow(
    clippy::disallowed_methods,
    reason = "unpacks code into directories that sandboxes show; they can be lost without loss"
)]

use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use store::NewBlob;
use wire::{Bytes, Fault};

use crate::configuration::{Code, LayerUse};
use crate::state::State;
use crate::{api, blame, errors};

/// Bytes that a zip file may unpack to, a function's layers included.
pub const UNZIPPED_LIMIT: u64 = 262_144_000;
/// Bytes of a zip file given in the request itself.
const INLINE_LIMIT: usize = 52_428_800;
/// Entries of a zip file; a file of nothing but names fills a disk's inodes too.
const MOST_ENTRIES: usize = 100_000;
/// Buckets whose "objects" are directories of this host.
const HOT_RELOAD: [&str; 2] = ["hot-reload", "__local__"];

/// Where a request says that code is.
pub struct Source {
    pub zip: Option<Bytes>,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub version: Option<String>,
}

/// Code that was taken in; the blob is to be linked.
pub struct Taken {
    pub code: Code,
    /// Keeps the content until a transaction links it.
    _blob: Option<NewBlob>,
}

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

/// That there are too many bytes in a request. The model does not know this error.
pub fn too_large(text: String) -> Fault {
    blame::untyped(Fault::sender(413, "RequestEntityTooLargeException", text))
}

/// The most bytes of a request that creates a function
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const CREATE_LIMIT: usize = 70_167_211;

/// Fails for a request that is too large by its code, which it holds in base64, and its environment together.
pub fn check_request(
    zip: Option<&Bytes>,
    environment: Option<&api::Environment>,
) -> Result<(), Fault> {
    let zip = zip.map_or(0, Bytes::len);
    let variables = environment.and_then(|e| e.variables.as_ref());
    let text: usize = variables
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    // Of code that is too large by itself that is told.
    if zip <= INLINE_LIMIT && zip.div_ceil(3) * 4 + text > CREATE_LIMIT {
        return Err(too_large(format!(
            "Request must be smaller than {CREATE_LIMIT} bytes for the CreateFunction operation"
        )));
    }
    Ok(())
}

/// Takes code in: checks it and keeps it as a blob.
pub async fn take(state: &State, account: &str, source: Source) -> Result<Taken, Fault> {
    let zip = match source {
        Source {
            zip: Some(zip),
            bucket: None,
            key: None,
            ..
        } => {
            if zip.len() > INLINE_LIMIT {
                return Err(too_large(format!(
                    "Zipped size must be smaller than {INLINE_LIMIT} bytes"
                )));
            }
            zip
        }
        Source {
            zip: None,
            bucket: Some(bucket),
            key: Some(key),
            version,
        } => {
            let marker = std::env::var("BUCKET_MARKER_LOCAL").ok();
            if HOT_RELOAD.contains(&bucket.as_str()) || marker.as_deref() == Some(bucket.as_str()) {
                return watched(&key);
            }
            let Some(objects) = state.cloud.ports.objects() else {
                return Err(invalid(
                    "Error occurred while GetObject. S3 is not running here.",
                ));
            };
            let got = objects
                .get(account, &bucket, &key, version.as_deref(), UNZIPPED_LIMIT)
                .await;
            got.map_err(|e| match e.status {
                500.. => e,
                413 => invalid(format!(
                    "Unzipped size must be smaller than {UNZIPPED_LIMIT} bytes"
                )),
                _ => invalid(format!(
                    "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}",
                    e.code, e.message
                )),
            })?
        }
        Source {
            zip: None,
            bucket: None,
            key: None,
            ..
        } => return Err(invalid("Please provide a source for function code.")),
        _ => {
            return Err(invalid(
                "Please do not provide other FunctionCode parameters when providing a ZipFile.",
            ));
        }
    };
    if zip.is_empty() {
        return Err(invalid("Uploaded file must be a non-empty zip"));
    }
    let copy = zip.clone();
    let sha256 = tokio::task::spawn_blocking(move || {
        check(&copy)?;
        Ok::<_, Fault>(STANDARD.encode(Sha256::digest(&copy)))
    })
    .await??;
    let size = zip.len() as u64;
    let mut writer = state.cloud.store.blobs().create();
    writer.write(zip).await?;
    let blob = writer.finish().await?;
    Ok(Taken {
        code: Code {
            sha256,
            size,
            blob: Some(*blob),
            directory: None,
        },
        _blob: Some(blob),
    })
}

fn watched(path: &str) -> Result<Taken, Fault> {
    if !Path::new(path).is_absolute() {
        return Err(invalid(
            "With the bucket hot-reload the key is the absolute path of a directory on this host",
        ));
    }
    if !Path::new(path).is_dir() {
        return Err(invalid(format!("{path} is not a directory of this host")));
    }
    let sha256 = "hot-reloading-hash-not-available".to_owned();
    Ok(Taken {
        code: Code {
            sha256,
            size: 0,
            blob: None,
            directory: Some(path.to_owned()),
        },
        _blob: None,
    })
}

const BAD_ZIP: &str =
    "Could not unzip uploaded file. Please check your file, then try to upload again.";

/// Whether a zip file can be unpacked within the limits, by its directory alone.
fn check(zip: &[u8]) -> Result<(), Fault> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(|_| invalid(BAD_ZIP))?;
    if archive.is_empty() {
        return Err(invalid("Uploaded file must be a non-empty zip"));
    }
    if archive.len() > MOST_ENTRIES {
        return Err(invalid(BAD_ZIP));
    }
    let mut total: u64 = 0;
    for i in 0..archive.len() {
        let entry = archive.by_index_raw(i).map_err(|_| invalid(BAD_ZIP))?;
        if entry.enclosed_name().is_none() {
            return Err(invalid(BAD_ZIP));
        }
        total = total.saturating_add(entry.size());
    }
    if total >= UNZIPPED_LIMIT {
        return Err(invalid(format!(
            "Unzipped size must be smaller than {UNZIPPED_LIMIT} bytes"
        )));
    }
    Ok(())
}

/// The bytes of kept code.
pub async fn read(state: &State, code: &Code) -> Result<Bytes, Fault> {
    let Some(blob) = code.blob else {
        return Ok(Bytes::new());
    };
    let mut stream = state.cloud.store.blobs().read(blob.id, 0..blob.len)?;
    let mut all = Vec::with_capacity(usize::try_from(blob.len).unwrap_or(0));
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.into())
}

/// The directory with a function's code, unpacked if it is not there.
pub async fn directory(state: &State, code: &Code) -> Result<PathBuf, Fault> {
    match &code.directory {
        Some(directory) => Ok(PathBuf::from(directory)),
        None => unpacked(state, "code", std::slice::from_ref(code)).await,
    }
}

/// The directory in which a function's layers lie over each other; `None` without layers.
pub async fn layers(state: &State, layers: &[LayerUse]) -> Result<Option<PathBuf>, Fault> {
    match layers {
        [] => Ok(None),
        [
            LayerUse {
                code:
                    Code {
                        directory: Some(directory),
                        ..
                    },
                ..
            },
        ] => Ok(Some(PathBuf::from(directory))),
        _ => {
            let codes: Vec<Code> = layers.iter().map(|l| l.code.clone()).collect();
            unpacked(state, "layers", &codes).await.map(Some)
        }
    }
}

async fn unpacked(state: &State, kind: &str, codes: &[Code]) -> Result<PathBuf, Fault> {
    let mut digest = Sha256::new();
    codes.iter().for_each(|code| digest.update(&code.sha256));
    let place = state
        .scratch()
        .join(kind)
        .join(hex::encode(digest.finalize()));
    if place.is_dir() {
        return Ok(place);
    }
    let mut zips = Vec::new();
    for code in codes {
        zips.push(read(state, code).await?);
    }
    let target = place.clone();
    tokio::task::spawn_blocking(move || {
        // A name of its own and one rename: two that unpack the same at once do not meet.
        let part = target.with_extension(cloud::ids::hex(8));
        std::fs::create_dir_all(&part)?;
        readable(&part, 0o755)?;
        let mut left = UNZIPPED_LIMIT;
        let done = zips
            .iter()
            .try_for_each(|zip| unpack(zip, &part, &mut left));
        if let Err(e) = done {
            let _ = std::fs::remove_dir_all(&part);
            return Err(e);
        }
        if std::fs::rename(&part, &target).is_err() {
            let _ = std::fs::remove_dir_all(&part);
            if !target.is_dir() {
                return Err(Fault::internal(format!(
                    "{} cannot be made",
                    target.display()
                )));
            }
        }
        Ok(())
    })
    .await??;
    Ok(place)
}

/// Unpacks a zip file; `left` is how many bytes may still be written, whatever the directory of the file says.
fn unpack(zip: &[u8], into: &Path, left: &mut u64) -> Result<(), Fault> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(|_| invalid(BAD_ZIP))?;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|_| invalid(BAD_ZIP))?;
        let name = entry.enclosed_name().ok_or_else(|| invalid(BAD_ZIP))?;
        let target = into.join(&name);
        if entry.is_dir() {
            make_directories(into, &name)?;
            continue;
        }
        if let Some(parent) = name.parent() {
            make_directories(into, parent)?;
        }
        // A link could lead what is unpacked after it out of the directory.
        if std::fs::symlink_metadata(&target).is_ok() {
            std::fs::remove_file(&target)?;
        }
        let mut content = (&mut entry).take(*left + 1);
        if entry_is_link(&content) {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            if stays_inside(&name, Path::new(&text)) {
                std::os::unix::fs::symlink(text, &target)?;
            }
            continue;
        }
        let mut file = std::fs::File::create(&target)?;
        let written = std::io::copy(&mut content, &mut file)?;
        if written > *left {
            return Err(invalid(format!(
                "Unzipped size must be smaller than {UNZIPPED_LIMIT} bytes"
            )));
        }
        *left -= written;
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o777;
        readable(&target, mode | 0o444)?;
    }
    Ok(())
}

fn entry_is_link<R: std::io::Read>(
    content: &std::io::Take<&mut zip::read::ZipFile<'_, R>>,
) -> bool {
    content.get_ref().is_symlink()
}

/// Whether a relative link at `name` stays within the directory that both are in.
fn stays_inside(name: &Path, to: &Path) -> bool {
    use std::path::Component;
    let mut depth = name.components().count() as i64 - 1;
    to.components().all(|part| {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => depth = -1,
        }
        depth >= 0
    })
}

/// Makes the directories of a path below `root`, never through a link.
fn make_directories(root: &Path, path: &Path) -> Result<(), Fault> {
    let mut place = root.to_owned();
    for part in path.components() {
        place.push(part);
        match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(invalid(BAD_ZIP)),
            Err(_) => {
                std::fs::create_dir(&place)?;
                readable(&place, 0o755)?;
            }
        }
    }
    Ok(())
}

fn readable(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A number that changes when a watched directory does; 0 for code from a zip.
pub fn fingerprint(code: &Code) -> u64 {
    let Some(directory) = &code.directory else {
        return 0;
    };
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    let mut waiting = vec![PathBuf::from(directory)];
    let mut seen = 0;
    while let Some(place) = waiting.pop() {
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            seen += 1;
            if entry.file_name() == "__pycache__" || seen > MOST_ENTRIES {
                continue;
            }
            use std::os::unix::fs::MetadataExt;
            let stamp = data.mtime_nsec() as u64
                ^ (data.mtime() as u64).rotate_left(32)
                ^ data.size().rotate_left(16)
                ^ data.ino();
            // Directories are listed in any order, so the sum must not depend on it.
            sum = sum.wrapping_add(
                stamp
                    .wrapping_mul(0x0100_0000_01b3)
                    .rotate_left((stamp % 61) as u32),
            );
            if data.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .expect("starts");
            writer.write_all(content).expect("writes");
        }
        writer.finish().expect("ends").into_inner()
    }

    #[test]
    fn a_zip_that_climbs_out_is_refused() {
        assert!(check(&zip(&[("a.py", b"x")])).is_ok());
        assert!(check(&zip(&[("../a.py", b"x")])).is_err());
        assert!(check(b"PK no zip").is_err());
        assert!(check(&zip(&[])).is_err());
    }

    #[test]
    fn a_zip_bomb_is_stopped_while_it_unpacks() {
        let place = tempfile::tempdir().expect("a directory");
        let mut left = 10;
        assert!(unpack(&zip(&[("a", &[0; 11])]), place.path(), &mut left).is_err());
    }

    #[test]
    fn links_that_leave_the_code_are_told_from_those_that_stay() {
        assert!(stays_inside(Path::new("lib/a.so"), Path::new("../a.so.1")));
        assert!(!stays_inside(
            Path::new("lib/a.so"),
            Path::new("../../etc/passwd")
        ));
        assert!(!stays_inside(Path::new("a"), Path::new("/etc/passwd")));
    }
}
