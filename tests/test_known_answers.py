"""What is known of FER-2013, found again: the whole path from the zip to the split report."""

import pandas as pd
import pytest

from ferflow.duplicates import duplicate_groups
from ferflow.ingestion import ingest
from ferflow.measuring import measure
from ferflow.params import Dataset
from ferflow.quality import row_flags
from ferflow.splitting import leak_report, split
from ferflow.tables import read_labels

pytestmark = pytest.mark.slow


def test_fer2013_has_the_duplicates_leaks_conflicts_and_flat_images_that_are_known(shared, tmp_path, settings):
    manifest = tmp_path / "manifest.parquet"
    assert ingest(Dataset(source="fer2013", path=shared / "data/fer2013.zip", image_size=48), 0, manifest) == 32_298
    labels, measures = read_labels(manifest), measure(manifest)
    limits = settings.validation
    groups = duplicate_groups(measures, limits.near_distance, limits.near_correlation)
    flags = row_flags(labels, measures, groups, limits)
    assert flags["flat"].sum() == 13
    assert flags["identical"].sum() == 32_298 - 30_766
    assert flags["alike"].sum() > 500, "near duplicates are found beyond the identical ones"
    assert not flags[["unreadable", "unknown_label", "unlabelled"]].to_numpy().any()
    found = leak_report(split(labels, groups.set_index(pd.Index(labels["id"])), settings.split, 0), labels)
    assert found["unique images"] == 30_766
    assert found["groups of identical images"] == 1_273
    assert found["groups of identical images with different expressions"] == 47
    assert found["test images identical to one in training or validation"] == 280
    assert found["test images identical or nearly identical to one there"] > 280
