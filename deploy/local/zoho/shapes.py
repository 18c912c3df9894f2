"""Records as the API shows them: whole, where they are asked for by id, and as the poorer rows of a list.

The two disagree here as they do at Zoho: `zip` and `zipcode`, [] and "", updated_time and last_modified_time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.local.zoho.kinds import Kind, Record

_DOLLARS: Record = {"currency_symbol": "$"}
_MERCHANT: Record = {
    "color_code": "", "current_sub_status_id": "", "template_id": "982000000017001", "template_type": "standard",
    "is_viewed_by_client": False, "client_viewed_time": "", "is_emailed": False,
}  # fmt: skip
_APPROVAL: Record = {
    "submitter_id": "", "approver_id": "", "submitted_date": "", "submitted_by": "", "approvers_list": [], "sub_statuses": [],
    "custom_field_hash": {}, "tags": [], "taxes": [], "orientation": "portrait", "adjustment": 0, "adjustment_description": "",
    "rounding_mode": "round_half_up", "tax_rounding": "entity_level", "is_inclusive_tax": False,
}  # fmt: skip
# What a detail has besides what Books says of a record.
_DETAILS: dict[str, Record] = {
    "user": {"is_vendor_segmented": False},
    "customer": {"language_code": "", "source": "api", "is_linked_with_zohocrm": False, "custom_field_hash": {}, "tags": []},
    "vendor": {"language_code": "", "source": "api", "is_linked_with_zohocrm": False, "custom_field_hash": {}, "tags": []},
    "product": {"custom_field_hash": {}, "can_be_sold": True, "can_be_purchased": True, "documents": []},
    "price_list": {},
    "order": {**_MERCHANT, **_APPROVAL, "packages": [], "invoices": [], "purchaseorders": []},
    "invoice": {
        **_DOLLARS, **_MERCHANT, **_APPROVAL, "lock_details": {"can_lock": False}, "salesorders": [], "write_off_amount": 0,
        "payment_options": {"payment_gateways": []}, "is_backorder": "", "qr_code": {"is_qr_enabled": False, "qr_value": ""},
    },
    "bill": {**_DOLLARS, **_APPROVAL, "payments": [], "vendor_credits": [], "entity_type": "bill", "source": "Api"},
    "credit_note": {**_DOLLARS, **_MERCHANT, **_APPROVAL, "creditnote_refunds": [], "lock_details": {"can_lock": False}},
    "payment": {
        **_DOLLARS, "payment_refunds": [], "documents": [], "custom_field_hash": {}, "tags": [], "page_height": "11.69in",
        "lock_details": {"can_lock": False},
        "online_transaction_id": "", "tax_amount_withheld": 0, "discount_amount": 0,
    },
    "stock_adjustment": {"reason_type": "", "approvers_list": []},
}  # fmt: skip
# What is only in a detail.
_DEEP = frozenset({
    "line_items", "notes", "terms", "contact_persons", "invoices", "invoices_credited", "warehouses", "sub_total", "tax_total",
    "payment_made", "page_width", "page_height", "orientation", "taxes", "sub_statuses", "approvers_list", "lock_details",
    "payment_options", "qr_code", "salesorders", "packages", "purchaseorders", "payments", "vendor_credits", "creditnote_refunds",
    "payment_refunds", "submitter_id", "approver_id", "submitted_date", "submitted_by", "rounding_mode", "tax_rounding",
    "is_inclusive_tax", "adjustment_description",
})  # fmt: skip


def detail(kind: Kind, record: Record) -> Record:
    """The whole record, as the answer to its id has it and as its webhook sends it."""
    whole = {**record, **_DETAILS[kind.label], **record}  # its own keys first
    if kind.label in _TIMELESS:
        whole.pop("created_time", None)
    return whole


def row(kind: Kind, whole: Record) -> Record:
    """The record as a row of a list."""
    return _ROWS[kind.label](whole)


_TIMELESS = frozenset({"user", "price_list"})


def _flat(whole: Record, *more: str) -> Record:
    return {key: value for key, value in whole.items() if key not in _DEEP and key not in more}


def _listed(address: Any) -> Any:
    """An address in a list: its code is `zipcode`."""
    return {("zipcode" if key == "zip" else key): value for key, value in address.items()}


def _item(whole: Record) -> Record:
    return _flat(whole, "documents") | {
        "item_name": whole["name"], "is_linked_with_zohocrm": False, "zcrm_product_id": "", "tax_name": "",
        "purchase_account_id": "982000000034003", "purchase_account_name": "Cost of Goods Sold",
        "account_id": "982000000000388", "account_name": "Sales", "purchase_description": "", "track_inventory": True,
        "has_attachment": False, "image_name": "", "image_type": "", "image_document_id": "", "is_returnable": True,
        "product_subtype": "", "purpose_of_use": "", "vendor_name": "", "is_combo_product": False, "isbn": "", "part_number": "",
        "brand": "", "sales_description": "", "tax_exemption_code": "", "avatax_tax_code": "", "group_id": "", "group_name": "",
        "category_id": "-1", "category_name": "", "has_sales_price_override": False, "minimum_order_quantity": "",
        "length": "", "width": "", "height": "", "weight": "", "weight_unit": "kg", "dimension_unit": "cm",
    }  # fmt: skip


def _contact(whole: Record) -> Record:
    name = whole["contact_name"]
    figures = (
        "outstanding_receivable_amount", "unused_credits_receivable_amount", "outstanding_payable_amount",
        "unused_credits_payable_amount",
    )  # fmt: skip
    return _flat(whole, "billing_address", "shipping_address", "credit_limit", "pricebook_id", "exchange_rate") | {
        "customer_name": name, "vendor_name": name, "contact_type_formatted": whole["contact_type"].title(),
        "customer_sub_type": "business", "language_code_formatted": "", "payment_terms_id": "982000000093081", "twitter": "",
        "facebook": "", "first_name": "", "last_name": "", "portal_status": "disabled", "portal_status_formatted": "Disabled",
        "track_1099": False, "created_time_formatted": "09 Jun 2026", "last_modified_time_formatted": "09 Jun 2026",
        "contactperson_custom_fields": [], "ach_supported": False, "has_attachment": False,
        **{key: whole.get(key, 0) for key in figures}, **{f"{key}_bcy": whole.get(key, 0) for key in figures},
    }  # fmt: skip


def _document(whole: Record, **more: Any) -> Record:
    addresses = {key: _listed(whole[key]) for key in ("billing_address", "shipping_address") if key in whole}
    return _flat(whole) | addresses | {"documents": "", "has_attachment": False, "created_by": "Layla Haddad", **more}


def _invoice(whole: Record) -> Record:
    return _document(
        whole, updated_time=whole["last_modified_time"], ach_payment_initiated=False, zcrm_potential_id="", company_name="",
        due_days="", email="", project_name="", phone="", country="", payment_expected_date="", shipping_charge=0,
        current_sub_status=whole["status"], schedule_time="", invoice_source="Api", sales_channel="direct_sales",
        transaction_type="renewal", reminders_sent=0, last_reminder_sent_date="", last_payment_date="", issued_date="",
        unprocessed_payment_amount=0,
    )  # fmt: skip


def _order(whole: Record) -> Record:
    row = _document(whole, current_sub_status=whole["status"], bcy_total=whole["total"], total_invoiced_amount=0, quantity=1)
    return {key: value for key, value in row.items() if not key.endswith("_address")}


def _bill(whole: Record) -> Record:
    row = _document(
        whole, due_days="", tds_total=0, current_sub_status=whole["status"], has_attachment=False, is_opening_balance=""
    )
    return {key: value for key, value in row.items() if not key.endswith("_address")}


def _credit_note(whole: Record) -> Record:
    return _document(whole, current_sub_status=whole["status"], company_name="")


def _payment(whole: Record) -> Record:
    row = _flat(whole, "updated_time", "documents", "payment_status")
    return row | {
        "last_modified_time": whole["updated_time"], "applied_invoices": "", "bcy_amount": whole["amount"],
        "bcy_unused_amount": whole["unused_amount"], "has_attachment": False, "payment_type": "Invoice Payment",
        "settlement_status": "", "type": "payment",
    }  # fmt: skip


def _stock_adjustment(whole: Record) -> Record:
    return _flat(whole, "created_time", "warehouse_id", "warehouse_name", "reason_type")


_ROWS: dict[str, Callable[[Record], Record]] = {
    "user": dict,
    "customer": _contact,
    "vendor": _contact,
    "product": _item,
    "price_list": dict,
    "order": _order,
    "invoice": _invoice,
    "bill": _bill,
    "credit_note": _credit_note,
    "payment": _payment,
    "stock_adjustment": _stock_adjustment,
}
