"""Writes a token dataset as TFDS or plain ArrayRecord files, which object stores read well.

    mypt export_tfds --dataset_dir data/demo/domain --out_dir data/demo/domain_tfds
    python -m mypt_jax.main --config=configs/v3.py:tiny --config.data.domain=data/demo/domain_tfds

No TensorFlow is needed. Training from the export gives the same batches as from the shards.
"""

import shutil
from pathlib import Path

from data_pipeline import arguments, atomic, errors
from data_pipeline.tokens import array_record, shards


def main(argv=None) -> int:
    """Prints the records written, after counting them again."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--out_dir", type=Path, required=True)
    parser.add_argument("--format", choices=array_record.STORAGES, default="tfds")
    args = parser.parse_args(argv)
    dataset = shards.open_dataset(args.dataset_dir)
    if dataset.storage != "shards":
        raise errors.UserError(
            f"{args.dataset_dir} is stored as {dataset.storage}: export the shards it comes from"
        )
    with atomic.staged_directory(args.out_dir) as staging:
        manifest = shards.read_manifest(args.dataset_dir)
        written = {
            source.name: array_record.export(
                source, staging, dtype=dataset.dtype, storage=args.format
            )
            for source in dataset.sources.values()
        }
        for entry in manifest["sources"].values():
            for split in entry["splits"].values():
                for shard in split["shards"]:
                    for suffix in ("idx", "doc"):
                        name = f"{shard['file']}.{suffix}"
                        (staging / name).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(args.dataset_dir / name, staging / name)
        atomic.write_json(staging / shards.MANIFEST, manifest | {"storage": args.format})
        exported = shards.open_dataset(staging)
        for name, source in exported.sources.items():
            for split in shards.SPLITS:
                array_record.check_equal(source.stream(split), dataset.sources[name].stream(split))
    for name, records in written.items():
        print(f"{name}: {records} records of up to {array_record.RECORD_TOKENS} tokens")
    print(f"{args.out_dir}: read again, equal to {args.dataset_dir}")
    return 0
