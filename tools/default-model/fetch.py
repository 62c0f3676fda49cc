"""fetch.py FOLDER: the Debian packages of data/default/packages.tsv, downloaded by apt and unpacked below FOLDER.

Where packages come from is apt's own configuration. A package whose digest is not the manifest's is refused."""
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from recipe import FOLDER, read_table


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def archive(folder, package, version):
    """Under the name that apt gives it."""
    found = sorted(folder.glob(f"{package}_{version.replace(':', '%3a')}_*.deb"))
    return found[0] if found else None


def download(folder, wanted):
    names = [f"{row['package']}={row['version']}" for row in wanted]
    print(f"downloading {', '.join(names)}", flush=True)
    # as the folder's owner: apt's own user cannot write here
    done = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", *names], cwd=folder)
    if done.returncode != 0:
        policy = subprocess.run(["apt-cache", "policy", *[row["package"] for row in wanted]], capture_output=True, text=True)
        sys.exit(f"{policy.stdout}\nThe packages could not be downloaded. Refresh apt's lists (apt-get update). If Debian has "
                 f"other versions than {FOLDER / 'packages.tsv'}, put them and their SHA-256 there: the data change with them.")


def fetch(folder):
    """Returns {package: folder with its files}."""
    packages, files = folder / "packages", folder / "files"
    packages.mkdir(parents=True, exist_ok=True)
    files.mkdir(exist_ok=True)
    manifest = read_table(FOLDER / "packages.tsv")
    places = {row["package"]: files / f"{row['package']}-{row['sha256'][:16]}" for row in manifest}
    wanted = [row for row in manifest if not places[row["package"]].exists()]
    missing = [row for row in wanted if archive(packages, row["package"], row["version"]) is None]
    if missing:
        download(packages, missing)
    for row in wanted:
        deb, place = archive(packages, row["package"], row["version"]), places[row["package"]]
        found = digest(deb)
        if found != row["sha256"]:
            sys.exit(f"{deb}: its SHA-256 is {found}, and {row['sha256']} in {FOLDER / 'packages.tsv'}; "
                     f"remove the file if its download was broken")
        part = place.with_name(place.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        subprocess.run(["dpkg-deb", "-x", str(deb), str(part)], check=True)
        os.replace(part, place)
    return places


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
