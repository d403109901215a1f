"""Cases from a table: paths and URIs, and what is wrong with one in a line."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path, PureWindowsPath

import fsspec
import pytest

from segcct.datasets.case_table import is_case_table, read_case_table
from segcct.errors import DataError, PackageError
from segcct.files.remote_file import address_of, fetch, is_uri, uri_of
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_files import load_mask
from segcct.predictions.prediction_request import resolve
from tests.support.toy_pair import loaded_case, predictor


def test_paths_are_meant_from_the_folder_of_the_table(tmp_path):
    (tmp_path / "cases.csv").write_text("t2,case,t1,age\nb/2.nii,b,s3://bucket/b//1.nii,7\n/x/2.nii,a,1.nii,8\n")
    first, second = read_case_table(tmp_path / "cases.csv", ["t1", "t2"])
    assert (first.id, first.channels) == ("a", {"t1": (tmp_path / "1.nii",), "t2": (Path("/x/2.nii"),)})
    assert second.channels["t2"] == (tmp_path / "b" / "2.nii",)
    assert uri_of(second.channels["t1"][0]) == "s3://bucket/b/1.nii"


def test_a_path_is_found_in_another_spelling_of_unicode(tmp_path):
    stored = tmp_path / unicodedata.normalize("NFD", "Müller.nii")
    stored.touch()
    (tmp_path / "cases.csv").write_text("case,ct\na,Müller.nii\nb,Zoë.nii\n", encoding="utf-8")
    cases = read_case_table(tmp_path / "cases.csv", ["ct"])
    assert [case.channels["ct"] for case in cases] == [(stored,), (tmp_path / "Zoë.nii",)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("case\na\n", r"columns are missing \(found case; expected case, ct\)"),
        ("id,ct\na,b\n", r"columns are missing \(found id, ct; expected case, ct\)"),
        ("case;ct\na;b\n", r"columns are missing \(found case;ct; expected case, ct\)\. Save it with commas between"),
        ("case,ct\n", "lists no case"),
        ("case,ct\na,\n", r"an empty cell \(found column ct of case a\)"),
        ("case,ct\na,b\n,c\n", r"an empty cell \(found column case of row 2 below the header\)"),
        ('case;ct\n"a";b\n', r"is not a table of text .*\. Save it with commas between"),
        ("case,ct\na,b\na,c\n", r"a case is listed twice \(found a\)"),
        ("case,ct\nZo\u00eb,b\nZoe\u0308,c\n", "a case is listed twice"),
        ("case,ct\n../a,b\n", r"a case id that cannot be the name of a mask \(found \.\./a\)"),
        ("case,ct\n..,b\n", r"a case id that cannot be the name of a mask \(found \.\.\)"),
        ("case,ct\n.a,b\n", r"a case id that cannot be the name of a mask \(found \.a\)"),
        ("case,ct\n\0,b\n", "is not a table of text"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_clear_error(tmp_path, content, words):
    (tmp_path / "cases.csv").write_text(content)
    with pytest.raises(DataError, match=rf"cases\.csv: {words}"):
        read_case_table(tmp_path / "cases.csv", ["ct"])


def test_a_row_with_an_empty_cell_is_a_case_that_fails(tmp_path):
    (tmp_path / "cases.csv").write_text("case,t1,t2\na,1.nii,2.nii\nb,1.nii,\n")
    first, second = read_case_table(tmp_path / "cases.csv", ["t1", "t2"])
    assert (first.error, second.channels) == (None, {})
    assert "an empty cell (found column t2 of case b)" in str(second.error)


def test_parquet_says_the_same_as_csv(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"case": ["b", "a"], "ct": ["2.nii", "1.nii"]}), tmp_path / "cases.parquet")
    (tmp_path / "cases.csv").write_text("case,ct\nb,2.nii\na,1.nii\n")
    assert read_case_table(tmp_path / "cases.parquet", ["ct"]) == read_case_table(tmp_path / "cases.csv", ["ct"])
    with pytest.raises(DataError, match=r"columns are missing \(found case, ct; expected case, t1\)"):
        read_case_table(tmp_path / "cases.parquet", ["t1"])
    parts = tmp_path / "parts.parquet"  # as Spark writes it
    parts.mkdir()
    for name in ("b", "a"):
        row = {"case": [name], "ct": ["2.nii" if name == "b" else "1.nii"]}
        parquet.write_table(arrow.table(row), parts / f"part-{name}.parquet")
    (parts / "_SUCCESS").touch()
    assert is_case_table(parts)
    assert read_case_table(parts, ["ct"]) == read_case_table(tmp_path / "cases.csv", ["ct"])
    (tmp_path / "cases.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cases\.parquet: is not a Parquet file"):
        read_case_table(tmp_path / "cases.parquet", ["ct"])


def test_parquet_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(PackageError, match=r"segcct\[spark\]"):
        read_case_table(tmp_path / "cases.parquet", ["ct"])


def test_names_of_files_are_no_uris():
    assert [is_uri(text) for text in ("s3://a/b", "file:///a", "https://a/b", "C:/a", "/a/b", "a:b", "a/b")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert uri_of(Path("file:///a/b")) == "file:///a/b"


def test_the_file_system_that_hadoop_is_configured_for_keeps_its_folders(tmp_path):
    """`//` and `///` are one in a path: the first folder would be taken for a host."""
    row = "a,hdfs:///scans/1.nii,hdfs://host:8020/scans/2.nii,hdfs:/scans/3.nii"
    (tmp_path / "cases.csv").write_text(f"case,t1,t2,t3\n{row}\n")
    (case,) = read_case_table(tmp_path / "cases.csv", ["t1", "t2", "t3"])
    uris = [uri_of(file) for file in case.files()]
    assert uris == ["hdfs://default/scans/1.nii", "hdfs://host:8020/scans/2.nii", "hdfs://default/scans/3.nii"]


def test_the_password_of_a_uri_is_not_told(tmp_path, monkeypatch):
    remote = Path("sftp://ann:s3cret@host:22/scans/a.nii.gz")

    def refused(uri: str, mode: str) -> io.BytesIO:
        assert uri == "sftp://ann:s3cret@host:22/scans/a.nii.gz"
        raise PermissionError(f"refused by {uri}")

    monkeypatch.setattr(fsspec, "open", refused)
    assert address_of(remote) == "sftp://ann@host:22/scans/a.nii.gz"
    assert address_of(Path("abfss://container@account/a.nii")) == "abfss://container@account/a.nii"
    with pytest.raises(DataError, match="refused by sftp://ann@host") as caught:
        fetch(remote, tmp_path)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sftp://ann:s3c@ret@host/a.nii", "sftp://ann@host/a.nii"),
        ("ftp://ann@lab.org:s3cret@host:21/a.nii", "ftp://ann@lab.org@host:21/a.nii"),
        ("https://:token@host/a.nii", "https://@host/a.nii"),
        ("hdfs://host:8020/a@b.nii", "hdfs://host:8020/a@b.nii"),
        ("sftp://ann@host:22/a.nii", "sftp://ann@host:22/a.nii"),
    ],
)
def test_no_part_of_a_password_is_told(uri, shown):
    assert address_of(Path(uri)) == shown


def test_paths_of_windows_hold_uris_too():
    remote = PureWindowsPath("s3://bucket/scans/a.nii.gz")
    assert is_uri(remote)
    assert uri_of(remote) == address_of(remote) == "s3://bucket/scans/a.nii.gz"
    assert not is_uri(PureWindowsPath("C:/scans/a.nii.gz"))


def test_the_signature_of_a_web_address_is_neither_a_name_nor_told(tmp_path, monkeypatch):
    signed = Path("https://host/scans/a.nii.gz?sig=s%2Fecret")

    def opened(uri: str, mode: str) -> io.BytesIO:
        if uri.endswith("gone.nii.gz?sig=s%2Fecret"):
            raise FileNotFoundError(f"404, {uri.replace('%2F', '/')!r}")
        assert uri in ("https://host/scans/a.nii.gz?sig=s%2Fecret", "https://host/download?path=&files=b.nii.gz")
        return io.BytesIO(b"content")

    monkeypatch.setattr(fsspec, "open", opened)
    assert fetch(signed, tmp_path) == tmp_path / "a.nii.gz"
    assert (tmp_path / "a.nii.gz").read_bytes() == b"content"
    assert fetch(Path("https://host/download?path=&files=b.nii.gz"), tmp_path) == tmp_path / "b.nii.gz"
    assert address_of(signed) == "https://host/scans/a.nii.gz"
    assert address_of(Path("s3://bucket/what?.nii")) == "s3://bucket/what?.nii"
    with pytest.raises(DataError) as caught:
        fetch(Path("https://host/gone.nii.gz?sig=s%2Fecret"), tmp_path)
    assert "ecret" not in str(caught.value)


def test_a_table_of_files_and_uris_is_predicted(tmp_path):
    case = loaded_case()
    case.grid.save(tmp_path / "here.nii.gz")
    memory = fsspec.filesystem("memory")
    memory.pipe("/archive/there.nii.gz", (tmp_path / "here.nii.gz").read_bytes())
    table, of = tmp_path / "cases.csv", predictor()
    table.write_text("case,ct\na,here.nii.gz\nb,memory://archive/there.nii.gz\nc,memory://archive/gone.nii.gz\n")
    predictions = predict_folder(of, resolve(of.card, table), tmp_path / "p")
    assert "1 of 3 cases failed" in predictions.problem
    assert "memory://archive/gone.nii.gz: cannot be fetched" in predictions.problem
    one, other = (load_mask(tmp_path / "p" / f"{name}.nii.gz").array for name in "ab")
    assert (one == other).all()
    colors = {"labels_itksnap.txt", "labels_slicer.ctbl"}
    written = {file.name for file in (tmp_path / "p").iterdir()}
    assert written == {"a.nii.gz", "b.nii.gz", "predictions.json", *colors}
    entries = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    assert entries["b"]["channels"] == {"ct": ["memory://archive/there.nii.gz"]}
    kept = predict_folder(of, resolve(of.card, table), tmp_path / "p", existing="continue")
    assert [outcome.value.is_new for outcome in kept.outcomes[:2]] == [False, False]
