"""What to do about content that was refused, and about what does not work now. Pure.

docs/adapters.md has the same table, and a test holds the two together.
"""

ADVICE = {
    "missing_file": (
        "Put adapter_config.json and adapter_model.safetensors into the folder itself, not "
        "into a folder below it."
    ),
    "unsafe_format": (
        "Save the weights as safetensors, or let veneer adapters check --fix convert them."
    ),
    "truncated": "The copy is incomplete: copy it again and compare the sizes.",
    "invalid_tensors": "Save the adapter again with PEFT; each module needs its A and its B.",
    "invalid_config": "Correct the field that the detail names.",
    "unsupported_feature": (
        "Train without the feature, or let veneer adapters check --fix fold it in where "
        "that is possible."
    ),
    "rank_too_large": (
        "Raise adapters.max_rank, train with a smaller rank, or let the server compress it."
    ),
    "base_mismatch": (
        "Serve the base that the adapter was trained on, or train the adapter on this base."
    ),
    "non_finite": (
        "The training diverged: take an earlier checkpoint. In half precision, also try "
        "another model.dtype."
    ),
    "quota_exceeded": (
        "Remove an adapter of the tenant, or raise tenants.adapters or tenants.stored_gib."
    ),
    "no_effect": (
        "Check that the adapter was trained and that its module names are the base's. If "
        "only the engine's proof found no effect and you meant that, add --allow-no-effect."
    ),
    "garbage_output": (
        "The weights do not fit the base, although their shapes do: check "
        "base_model_name_or_path and the scaling."
    ),
    "crashes_engine": (
        "The engine died or hung twice while it loaded this revision or first used it: look "
        "in the log, and train or convert it again."
    ),
    "unparsable": (
        "Reading the files crashed, or took more time or memory than the sandbox allows: "
        "save the adapter again with PEFT."
    ),
    "too_large": (
        "The files are above the server's limit: train fewer modules or a smaller rank, or "
        "raise sources.max_bytes."
    ),
    "content_lost": (
        "Publish the files again: the stored files are damaged or gone, and the source has "
        "other files."
    ),
    "path_not_allowed": (
        "Move the folder into adapters.dir or one of adapters.roots. Neither it nor a file "
        "in it may be a link that leads out of them or in a loop. Both files must be "
        "regular files."
    ),
    "source_not_allowed": (
        "Ask the operator to name the organisation, host or bucket in sources.*, or correct "
        "the location."
    ),
    "checksum_mismatch": (
        "The source sent other bytes than its own checksum names: upload the files again."
    ),
    "name_not_allowed": (
        "Choose a name of at most 63 letters, digits, ., _ and - that begins with a letter "
        "or digit; one / may follow a team's name. It must not be the base's name, nor "
        "check."
    ),
    "targets_impossible": (
        "Point the alias to revisions that exist and are ready; veneer adapters revisions "
        "lists them."
    ),
    "source_unavailable": (
        "The source does not answer, or it refuses: check its status and credentials, then "
        "try again."
    ),
    "source_changing": "Somebody was writing the files: try again when the writing is done.",
    "storage_failed": "Check the state folder's disk and permissions; the log has the error.",
    "catalog_gone": (
        "Somebody removed or replaced the catalog's file: stop the server, restore the "
        "file, start again."
    ),
    "cache_full": "Remove adapters, raise adapters.quota_gib, or add disk space.",
    "no_slot_free": (
        "Every slot is in use or pinned: unpin an adapter, or raise adapters.device_slots."
    ),
    "load_failed": "The engine refused the adapter: the log has its reason.",
    "staging_full": (
        "A hundred adapters that were added without waiting are still being staged, or four are "
        "being uploaded: try again."
    ),
    "checkups_full": "Thirty-two adapters are being checked or wait for it: try again.",
    "load_timed_out": "The machine is too busy, or adapters.load_timeout_s is too short.",
    "state_busy": "Another process holds the database: try again.",
}
"""By reason code, as adapters and revisions have it in ``reason``."""


def what_to_do(reason: str | None) -> str | None:
    """Return what somebody can do about ``reason``; None when there is nothing special."""
    return ADVICE.get(reason or "")
