"""A library that was built to load only signed plugins loads the plugin that tools/sign-plugin signed, and no other."""

import hashlib

OURS = "create: h5lake\nopen: h5lake\n"


def test_a_signed_plugin_is_loaded(signing, keys):
    plugin = signing.signed("signed", keys[0])
    assert signing.run(plugin, signing.keystore("with-key", keys[1])) == (OURS, "container")
    assert signing.sign(keys[1], plugin, "--check")[0]


def test_any_key_of_the_keystore_is_enough(signing, keys):
    _, other = signing.new_key("another")
    plugin = signing.signed("two-keys", keys[0])
    assert signing.run(plugin, signing.keystore("with-two-keys", other, keys[1])) == (OURS, "container")


def test_an_unsigned_plugin_is_refused(signing, keys):
    plugin = signing.copy("unsigned")
    errors, kind = signing.run(plugin, signing.keystore("for-unsigned", keys[1]))
    assert "plugin signature verification failed for" in errors and "not a signed HDF5 plugin" in errors, errors
    assert kind is None, "a native file was made"
    assert signing.sign(keys[1], plugin, "--check") == (False, f"tools/sign-plugin: {plugin} has no signature\n")


def test_an_altered_plugin_is_refused(signing, keys):
    plugin = signing.signed("altered", keys[0])
    with open(plugin, "r+b") as file:
        file.seek(plugin.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    errors, kind = signing.run(plugin, signing.keystore("for-altered", keys[1]))
    assert "no key in keystore matched" in errors and kind is None, (errors, kind)
    assert not signing.sign(keys[1], plugin, "--check")[0]


def test_a_plugin_that_another_key_signed_is_refused(signing, keys):
    private, public = signing.new_key("stranger")
    plugin = signing.signed("by-stranger", private)
    errors, kind = signing.run(plugin, signing.keystore("without-stranger", keys[1]))
    assert "no key in keystore matched" in errors and kind is None, (errors, kind)
    assert not signing.sign(keys[1], plugin, "--check")[0] and signing.sign(public, plugin, "--check")[0]


def test_a_revoked_signature_is_refused(signing, keys):
    plugin = signing.signed("revoked", keys[0])
    signature = plugin.read_bytes()[-14 - 384:-14]
    keystore = signing.keystore("with-revocation", keys[1])
    (keystore / "revoked_signatures.txt").write_text(hashlib.sha256(signature).hexdigest() + "\n")
    errors, kind = signing.run(plugin, keystore)
    assert "plugin signature has been revoked" in errors and kind is None, (errors, kind)


def test_a_plugin_is_signed_once(signing, keys):
    plugin = signing.signed("twice", keys[0])
    before = plugin.read_bytes()
    assert signing.sign(keys[0], plugin) == (False, f"tools/sign-plugin: {plugin} is signed already\n")
    assert plugin.read_bytes() == before
