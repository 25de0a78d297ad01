"""`kvcache-by-shape`: the KV cache that each shape's pages fill: of the prefill, once, and of each decoded token."""

from collections.abc import Iterator, Sequence

from modelmeter.hardware.device import Device
from modelmeter.hardware.needs import BLOCK_TOKENS, Needs, Workload
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived.table import SHAPE_COLUMNS, Column, Row, TableKind, shape_values
from modelmeter.report.derived.work import Point, TableWork


def _rows(model: DeepseekOCRModel, point: Point, work: TableWork, devices: Sequence[Device]) -> Iterator[Row]:
    run = Workload(views=point.views, context_len=point.context_len, decode_tokens=work.decode_tokens)
    cache, batch = Needs(model.engine, run), work.batch_size
    yield {
        **shape_values(point),
        "kv_bytes_per_token": cache.kv_bytes(1, 1),
        "prefill_kv_bytes": cache.kv_bytes(batch, run.context_len),
        "decode_kv_bytes": cache.kv_bytes(batch, run.decode_tokens),
        "kv_cache_bytes": cache.kv_bytes(batch, run.end),
        "kv_block_bytes": Needs(model.engine, run, block_tokens=BLOCK_TOKENS).kv_bytes(batch, run.end),
    }


KVCACHE = TableKind(
    name="kvcache-by-shape",
    title="KV cache by shape",
    columns=(
        *SHAPE_COLUMNS,
        Column("kv_bytes_per_token", "B", "a token of\na sequence"),
        Column("prefill_kv_bytes", "B", "of the\nprefill"),
        Column("decode_kv_bytes", "B", "of decoded\ntokens"),
        Column("kv_cache_bytes", "B", "at the\nend"),
        Column("kv_block_bytes", "B", "at the end,\nin blocks"),
    ),
    rows=_rows,
    notes=(
        "a token's keys and values are held once: the prefill's, image tokens among them, and one token a decode step",
        "keys and values of all layers: 2 x layers x KV heads x (head size x bytes a value + bytes of a scale)",
        f"in blocks: whole blocks of {BLOCK_TOKENS} tokens a sequence, as a paged cache holds them",
    ),
)
