"""What an invented record of each kind is made of, with the oddities that Zoho's records have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploy.local.zoho.kinds import Record

if TYPE_CHECKING:
    from deploy.local.zoho.books import Books

PEOPLE = ("Layla Haddad", "ليلى حداد", "José Núñez", "Søren Aagaard", "أحمد العلي", "Ana-Maria Pop", "李小龍", "Zoë O'Neill")
COMPANIES = ("BLUE DART ", "شركة النور للتجارة", "Müller & Söhne GmbH", "Al-Rashid / الرشيد", "Bowman and Co", 'Öl "Nord" AS')
GOODS = ("Lámp of brass", "مصباح مكتبي 💡", "Desk 160 x 80 cm", "Ribbed glass 🫙", "كرسي خشبي", "Cable <3 m> & plug", "Tea, 250 g")
REMARKS = ("call before delivery", "يُسلَّم صباحًا", "as agreed by phone ☎️", 'see \\ attached "list"', "line one\nline two")
CITIES = (("Baghdad", "بغداد", "10011"), ("Malmö", "", "211 20"), ("Pleasanton", "Suite 310", 94588))
STATUSES = ("draft", "sent", "open", "overdue", "paid", "void")


def _user(books: Books) -> Record:
    return {
        "role_id": "982000000006005", "name": books.one_of(PEOPLE), "email": f"person{books.number(1, 9999)}@example.com",
        "user_role": "admin", "user_type": "zoho", "status": "active", "is_current_user": False, "is_customer_segmented": False,
    }  # fmt: skip


def _contact(books: Books, contact_type: str, **more: Any) -> Record:
    name = books.one_of(COMPANIES)
    return {
        "contact_name": name, "company_name": name.strip(), "contact_type": contact_type, "status": "active",
        "email": f"office{books.number(1, 9999)}@example.com", "phone": "", "mobile": "+964 770 123 4567", "website": "",
        **books.money_of(), "payment_terms": books.one_of((0, 15, "30", "")), "payment_terms_label": "Net 15",
        "billing_address": books.address(), "shipping_address": books.address(),
        "contact_persons": [{"contact_person_id": books.new_id(), "first_name": books.one_of(PEOPLE), "is_primary_contact": True}],
        "custom_fields": books.custom(), **more,
    }  # fmt: skip


def _customer(books: Books) -> Record:
    return _contact(
        books, "customer", customer_sub_type="business", credit_limit=books.money(), outstanding_receivable_amount=books.money(),
        unused_credits_receivable_amount=0, pricebook_id="",
    )  # fmt: skip


def _vendor(books: Books) -> Record:
    return _contact(books, "vendor", outstanding_payable_amount=books.money(), unused_credits_payable_amount="0.00")


def _product(books: Books) -> Record:
    stock = books.number(0, 500)
    return {
        "name": books.one_of(GOODS), "sku": books.one_of(("", f"SKU-{books.number(1, 9999)}")), "unit": "pcs", "status": "active",
        "source": "user", "item_type": "inventory", "product_type": "goods", "rate": books.money(), "purchase_rate": "81.20",
        "tax_id": "", "tax_percentage": books.one_of((5, "15", "70%")), "stock_on_hand": float(stock), "available_stock": stock,
        "actual_available_stock": max(stock - 7, 0), "reorder_level": books.one_of((10, "")), "manufacturer": "Tide & Co",
        "upc": "0812345678905", "ean": "", "vendor_id": books.id_of("vendor"), "custom_fields": books.custom(), "tags": [],
        "warehouses": [{"warehouse_id": "982000000038080", "warehouse_name": "المستودع", "warehouse_stock_on_hand": stock}],
    }  # fmt: skip


def _price_list(books: Books) -> Record:
    prices = [
        {
            "pricebook_item_id": books.new_id(), "item_id": books.id_of("product"), "pricebook_rate": books.money(),
            "pricebook_discount": books.one_of(("5%", "")), "pricing_scheme": "unit", "price_brackets": [],
        }
        for _ in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "name": "Flash sale ⚡", "status": "active", "pricebook_type": "per_item", "sales_or_purchase_type": "sales",
        "pricing_scheme": "unit", "percentage": "", "is_increase": books.one_of((True, False, "")), "is_default": False,
        "rounding_type": "round_to_dollar_minus_01", "decimal_place": 2, "currency_id": "982000000000190", "currency_code": "SEK",
        "pricebook_items": prices,
    }  # fmt: skip


def _order(books: Books) -> Record:
    record = books.document(
        "salesorder_number", "customer", order_status="confirmed", invoiced_status="not_invoiced", paid_status="unpaid",
        shipped_status="pending", shipment_date=books.one_of(("", books.day())), delivery_method="Air",
        billing_address=books.address(), shipping_address=books.address(),
    )  # fmt: skip
    for line in record["line_items"]:
        line |= {"quantity_packed": 0, "quantity_shipped": 0, "quantity_invoiced": ""}
    return record


def _invoice(books: Books) -> Record:
    return books.document(
        "invoice_number", "customer", salesorder_id=books.one_of(("", books.id_of("order"))), due_date=books.day(), payment_made=0,
        balance=books.money(), credits_applied="0.00", billing_address=books.address(), shipping_address=books.address(),
        invoice_url="https://books.zoho.com/portal/x/secure?CInvoiceID=2-9f", due_by_days="",
    )  # fmt: skip


def _bill(books: Books) -> Record:
    return books.document(
        "bill_number", "vendor", due_date=books.day(), payment_terms=books.one_of((15, "")), balance=books.money(), payment_made=0,
        billing_address=books.address(),
    )  # fmt: skip


def _credit_note(books: Books) -> Record:
    credited = [{"invoice_id": books.id_of("invoice"), "credited_amount": books.money()}]
    return books.document(
        "creditnote_number", "customer", invoice_id=books.one_of(("", books.id_of("invoice"))), balance=0,
        total_credits_used="0.00", total_refunded_amount=0, invoices_credited=credited,
    )  # fmt: skip


def _payment(books: Books) -> Record:
    invoices: list[Record] = [
        {
            "invoice_payment_id": books.new_id(), "invoice_id": books.id_of("invoice"), "invoice_number": f"INV-{number:05}",
            "amount_applied": books.money(), "tax_amount_withheld": 0, "discount_amount": 0, "apply_date": books.day(),
            "total": books.money(), "balance": "0.00", "installments": [],
        }
        for number in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "payment_number": str(books.number(1, 9999)), "customer_id": books.id_of("customer"),
        "customer_name": books.one_of(COMPANIES),
        "payment_mode": "check", "payment_status": "paid", "date": books.day(), "amount": books.money(), "unused_amount": 0,
        "bank_charges": "", "account_id": "982000000000358", "account_name": "Undeposited Funds", "reference_number": "",
        **books.money_of(), "invoice_numbers": "INV-00000", "custom_fields": [], "page_width": "8.27in", "invoices": invoices,
    }  # fmt: skip


def _stock_adjustment(books: Books) -> Record:
    lines = [
        {
            "line_item_id": books.new_id(), "item_id": books.id_of("product"), "name": books.one_of(GOODS), "unit": "pcs",
            "quantity_adjusted": books.number(-9, 9), "item_total": books.money(), "warehouse_id": "982000000038080",
            "adjustment_account_id": "982000000034003",
        }
        for _ in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "date": books.day(), "reason": "Damaged goods", "reason_id": "982000000044110",
        "reference_number": f"IA-{books.number(1, 999)}",
        "adjustment_type": "quantity", "status": "adjusted", "total": books.money(), "warehouse_id": "982000000038080",
        "warehouse_name": "المستودع", "custom_fields": [{"customfield_id": "", "label": "", "value": ""}], "line_items": lines,
    }  # fmt: skip


MAKERS: dict[str, Callable[[Books], Record]] = {
    "user": _user,
    "customer": _customer,
    "vendor": _vendor,
    "product": _product,
    "price_list": _price_list,
    "order": _order,
    "invoice": _invoice,
    "bill": _bill,
    "credit_note": _credit_note,
    "payment": _payment,
    "stock_adjustment": _stock_adjustment,
}
