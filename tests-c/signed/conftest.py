"""Shared by the tests of signed plugins: a program on a build of HDF5 that loads only signed plugins, and keys."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import ROOT, connector as connectors
from harness.suite import HDF5Suite

HERE = Path(__file__).resolve().parent


def pytest_configure(config):
    HDF5Suite(config, "signed-plugins", "signed plugins{other}", HERE, limit=60)


class Signing:
    """Signs copies of the plugin, and runs a program with one of them."""

    def __init__(self, suite, work):
        self.connector, self.work, self.limit = suite.connector, work, suite.limit
        programs = connectors.programs_folder(suite.prefix)
        self.program = connectors.compile_program(ROOT / "tests-c/probe.c", programs / "probe", suite.prefix)

    def new_key(self, name):
        """Makes a key pair; returns the file of the private key, and that of the public key."""
        private, public = self.work / f"{name}.key", self.work / f"{name}.pem"
        openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", private)
        openssl("pkey", "-in", private, "-pubout", "-out", public)
        return private, public

    def copy(self, name):
        """Returns a copy of the plugin, alone in a folder."""
        folder = self.work / name
        folder.mkdir()
        return Path(shutil.copy(self.connector.plugin_path / "libh5lake.so", folder))

    def sign(self, key, plugin, *options):
        """Runs tools/sign-plugin; returns whether it succeeded, and its output."""
        done = subprocess.run([ROOT / "tools/sign-plugin", *options, key, plugin], capture_output=True, text=True)
        return done.returncode == 0, done.stdout + done.stderr

    def signed(self, name, key):
        """Returns a signed copy of the plugin."""
        plugin = self.copy(name)
        assert self.sign(key, plugin) == (True, "")
        return plugin

    def keystore(self, name, *keys):
        """Returns a folder with public keys."""
        folder = self.work / name
        folder.mkdir()
        for key in keys:
            shutil.copy(key, folder)
        return folder

    def run(self, plugin, keystore):
        """Makes a file and opens it with a plugin; returns the name of its connector, or HDF5's errors, and the
        file's kind."""
        env = self.connector.env(HDF5_PLUGIN_PATH=plugin.parent, HDF5_PLUGIN_KEYSTORE=keystore)
        file = self.work / f"{plugin.parent.name}-{keystore.name}.h5"
        done = subprocess.run([self.program, file], env=env, capture_output=True, text=True, timeout=self.limit)
        return done.stdout if done.returncode == 0 else done.stderr, connectors.kind_of(file)


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def signing(request):
    """Returns the tools, in a folder that is removed after the session."""
    suite = request.config.suite
    if not re.search(r"^# *define H5_REQUIRE_DIGITAL_SIGNATURE", (suite.prefix / "include/H5pubconf.h").read_text(), re.M):
        suite.skip("this build of HDF5 loads plugins without a signature: tests-c/hdf5/build --signed")
    if not shutil.which("openssl"):
        suite.skip("there is no openssl")
    with tempfile.TemporaryDirectory(prefix="h5lake-signed-") as work:
        yield Signing(suite, Path(work))


@pytest.fixture(scope="session")
def keys(signing):
    """Returns a key pair."""
    return signing.new_key("ours")
