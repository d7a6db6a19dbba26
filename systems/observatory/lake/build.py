"""What is deployed: two function zips, one layer zip, and the raw data."""
import hashlib
import pathlib
import shutil
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent.parent
BUILD = HERE / "build"
LIBRARIES = ["pandas==3.1.1", "pyarrow==26.0.1", "numpy==2.4.6", "python-dateutil", "six"]
DATA = "statsmodels==0.15.0"
# Left out of the layer: tests, headers and the parts of Arrow that a Parquet reader does not load. AWS's limit is 250 MB.
UNUSED_FOLDERS = {"tests", "include", "__pycache__", "src", "bin"}
UNUSED_NAMES = ("libarrow_flight", "libarrow_python_flight", "_flight", "gandiva", "_pyarrow_cpp_tests", ".so.2600.1.0",
                "_orc", "_s3fs", "_gcsfs", "_azurefs", "_hdfs", ".pyi", ".pyx", ".pxd", ".pxi")
# One fixed time makes the zips the same at every build, so a second plan shows no change.
TIME = (2026, 1, 1, 0, 0, 0)


def write_zip(target, entries, compress=zipfile.ZIP_DEFLATED):
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", compress, compresslevel=1) as z:
        for name, path in sorted(entries):
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr = 0o644 << 16
            info.compress_type = compress
            z.writestr(info, path.read_bytes())


def functions():
    for folder in sorted((HERE / "functions").iterdir()):
        if folder.is_dir():
            write_zip(BUILD / f"{folder.name}.zip", [(f.name, f) for f in folder.glob("*.py")])


def libraries():
    stamp = BUILD / "libraries.stamp"
    wanted = hashlib.sha256(" ".join(LIBRARIES).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and (BUILD / "libraries.zip").exists():
        return
    print("  libraries: " + ", ".join(LIBRARIES), flush=True)
    folder = BUILD / "libraries"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--no-deps",
                    "--only-binary", ":all:", "--target", str(folder), *LIBRARIES], check=True)
    entries = [("python/" + str(f.relative_to(folder)), f) for f in folder.rglob("*") if f.is_file() and wanted_file(f, folder)]
    write_zip(BUILD / "libraries.zip", entries)
    shutil.rmtree(folder)
    stamp.write_text(wanted)


def wanted_file(file, root):
    parts = file.relative_to(root).parts
    return not (UNUSED_FOLDERS & set(parts[:-1])) and not any(n in parts[-1] for n in UNUSED_NAMES)


def data():
    """United States macroeconomic data, quarterly from 1959, as it ships in statsmodels."""
    target = BUILD / "macrodata.csv"
    if not target.exists():
        wheels = BUILD / "wheels"
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                        "--only-binary", ":all:", "-d", str(wheels), DATA], check=True)
        with zipfile.ZipFile(next(wheels.glob("statsmodels-*.whl"))) as z:
            target.write_bytes(z.read("statsmodels/datasets/macrodata/macrodata.csv"))
        shutil.rmtree(wheels)
    return target


def all():
    BUILD.mkdir(exist_ok=True)
    functions()
    libraries()
    data()
