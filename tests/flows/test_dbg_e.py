from tests.flows.test_reconcile import *
def test_dbg(a_source, sql, turn_clock):
    zoho = a_source(1000)
    ids = sorted(zoho.rows("invoice"))
    sql("update tidemark.statistics set verified_at = verified_at - interval '3 hour'")
    zoho.edit("invoice", ids=[ids[500]], reference_number="lost", total=4711.25)
    sql("update public.tds_sync_cursors set cursor_value = (app_now() + interval '1 hour')::text where entity_type = 'invoice'")
    sql("update erp.invoices set total = total - 1, source_modified_at = source_modified_at - interval '1 minute', list_hash = 'older' where source_id=:i", i=ids[600])
    zoho.edit_quietly("invoice", ids=[ids[700]], balance=900_000.5)
    sql("update tidemark.settings set value = '3' where key = 'reconcile.budget_share'")
    compare("invoice")
    print("CALLS", [c.path+"?"+c.query[:150] for c in zoho.calls])
    print("DR", drifts(sql), sql("select source_entity_id, repaired_at - found_at from tidemark.drifts"), latest()["calls"])
    print({i: n for n, i in enumerate(ids) if n in (500,600,700)})
