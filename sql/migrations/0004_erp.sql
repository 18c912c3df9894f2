-- The business data: one table per record type, one per kind of line. New columns go here and in common/entities.
--
-- There are no foreign keys: events come in any order, and an invoice may well arrive before its customer. Orphans are
-- counted by the data validation instead.
--
-- Ids sort by "C", as the keys they refer to do; otherwise no join could use an index.
--
-- The columns every record has:
--   source_modified_at, settled, observed_at   decide which of two versions is newer, in this order
--   detail_document, detail_hash               the last whole record; typed columns follow it
--   list_document, list_hash                   the last row of a list, compared only with its like
--   detail_stale                               a list row was newer: the detail should be read again
--   ambiguous                                  two contents came under one stamp: the source must be asked
--   provenance, event_id                       who brought the version that stands here
--   deleted_at                                 gone at the source; the row stays

-- What is bought and sold, with the source's own stock figures and when they were last told; erp.stock adds what was
-- adjusted since.
create table if not exists erp.products (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    name text,
    sku text,
    unit text,
    status text,
    description text,
    item_type text,
    product_type text,
    rate numeric,
    purchase_rate numeric,
    tax_id text collate "C",
    tax_percentage numeric,
    stock_on_hand numeric,
    available_stock numeric,
    actual_available_stock numeric,
    reorder_level numeric,
    brand text,
    manufacturer text,
    upc text,
    ean text,
    vendor_id text collate "C",
    locations jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    stock_read_at timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists products_vendor_id on erp.products (vendor_id);

-- Contacts that buy.
create table if not exists erp.customers (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    contact_name text,
    company_name text,
    customer_sub_type text,
    status text,
    email text,
    phone text,
    mobile text,
    website text,
    currency_code text,
    payment_terms bigint,
    payment_terms_label text,
    outstanding_receivable_amount numeric,
    unused_credits_receivable_amount numeric,
    credit_limit numeric,
    pricebook_id text collate "C",
    billing_address jsonb,
    shipping_address jsonb,
    contact_persons jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists customers_pricebook_id on erp.customers (pricebook_id);

-- Contacts that are bought from.
create table if not exists erp.vendors (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    contact_name text,
    company_name text,
    status text,
    email text,
    phone text,
    mobile text,
    website text,
    currency_code text,
    payment_terms bigint,
    payment_terms_label text,
    outstanding_payable_amount numeric,
    unused_credits_payable_amount numeric,
    billing_address jsonb,
    shipping_address jsonb,
    contact_persons jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);

-- People with access to the organisation.
create table if not exists erp.users (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    name text,
    email text,
    role_id text collate "C",
    user_role text,
    user_type text,
    status text,
    is_current_user boolean,
    is_employee boolean,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);

-- Price lists: one percentage for all, or a price per item.
create table if not exists erp.price_lists (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    name text,
    description text,
    status text,
    pricebook_type text,
    sales_or_purchase_type text,
    pricing_scheme text,
    percentage numeric,
    is_increase boolean,
    is_default boolean,
    rounding_type text,
    decimal_place bigint,
    currency_id text collate "C",
    currency_code text,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);

-- The prices of a price list of kind per_item.
create table if not exists erp.price_list_items (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    rate numeric,
    discount_percentage numeric,
    pricing_scheme text,
    price_brackets jsonb,
    primary key (organization_id, source_id, line_no)
);
create index if not exists price_list_items_item_id on erp.price_list_items (item_id);

-- Sales orders.
create table if not exists erp.sales_orders (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    salesorder_number text,
    reference_number text,
    customer_id text collate "C",
    customer_name text,
    status text,
    order_status text,
    invoiced_status text,
    paid_status text,
    shipped_status text,
    date date,
    shipment_date date,
    delivery_method text,
    salesperson_id text collate "C",
    salesperson_name text,
    currency_code text,
    exchange_rate numeric,
    discount text,
    sub_total numeric,
    tax_total numeric,
    total numeric,
    billing_address jsonb,
    shipping_address jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists sales_orders_customer_id on erp.sales_orders (customer_id);

-- The lines of sales orders; the three quantities say how far each got.
create table if not exists erp.sales_order_lines (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    name text,
    sku text,
    description text,
    unit text,
    quantity numeric,
    rate numeric,
    discount text,
    tax_id text collate "C",
    tax_percentage numeric,
    item_total numeric,
    account_id text collate "C",
    location_id text collate "C",
    quantity_packed numeric,
    quantity_shipped numeric,
    quantity_invoiced numeric,
    primary key (organization_id, source_id, line_no)
);
create index if not exists sales_order_lines_item_id on erp.sales_order_lines (item_id);

-- Invoices to customers.
create table if not exists erp.invoices (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    invoice_number text,
    reference_number text,
    customer_id text collate "C",
    customer_name text,
    salesorder_id text collate "C",
    status text,
    current_sub_status text,
    date date,
    due_date date,
    salesperson_id text collate "C",
    salesperson_name text,
    currency_code text,
    exchange_rate numeric,
    discount text,
    sub_total numeric,
    tax_total numeric,
    total numeric,
    balance numeric,
    payment_made numeric,
    credits_applied numeric,
    billing_address jsonb,
    shipping_address jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists invoices_customer_id on erp.invoices (customer_id);
create index if not exists invoices_salesorder_id on erp.invoices (salesorder_id);

-- The lines of invoices.
create table if not exists erp.invoice_lines (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    name text,
    sku text,
    description text,
    unit text,
    quantity numeric,
    rate numeric,
    discount text,
    tax_id text collate "C",
    tax_percentage numeric,
    item_total numeric,
    account_id text collate "C",
    location_id text collate "C",
    primary key (organization_id, source_id, line_no)
);
create index if not exists invoice_lines_item_id on erp.invoice_lines (item_id);

-- Bills from vendors.
create table if not exists erp.bills (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    bill_number text,
    reference_number text,
    vendor_id text collate "C",
    vendor_name text,
    status text,
    current_sub_status text,
    date date,
    due_date date,
    payment_terms bigint,
    currency_code text,
    exchange_rate numeric,
    discount text,
    sub_total numeric,
    tax_total numeric,
    total numeric,
    balance numeric,
    payment_made numeric,
    vendor_credits_applied numeric,
    billing_address jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists bills_vendor_id on erp.bills (vendor_id);

-- The lines of bills.
create table if not exists erp.bill_lines (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    name text,
    sku text,
    description text,
    unit text,
    quantity numeric,
    rate numeric,
    discount text,
    tax_id text collate "C",
    tax_percentage numeric,
    item_total numeric,
    account_id text collate "C",
    location_id text collate "C",
    quantity_received numeric,
    primary key (organization_id, source_id, line_no)
);
create index if not exists bill_lines_item_id on erp.bill_lines (item_id);

-- What customers are owed.
create table if not exists erp.credit_notes (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    creditnote_number text,
    reference_number text,
    customer_id text collate "C",
    customer_name text,
    invoice_id text collate "C",
    status text,
    current_sub_status text,
    date date,
    salesperson_id text collate "C",
    salesperson_name text,
    currency_code text,
    exchange_rate numeric,
    discount text,
    sub_total numeric,
    tax_total numeric,
    total numeric,
    balance numeric,
    total_credits_used numeric,
    total_refunded_amount numeric,
    invoices_credited jsonb,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists credit_notes_customer_id on erp.credit_notes (customer_id);
create index if not exists credit_notes_invoice_id on erp.credit_notes (invoice_id);

-- The lines of credit notes.
create table if not exists erp.credit_note_lines (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    name text,
    sku text,
    description text,
    unit text,
    quantity numeric,
    rate numeric,
    discount text,
    tax_id text collate "C",
    tax_percentage numeric,
    item_total numeric,
    account_id text collate "C",
    location_id text collate "C",
    primary key (organization_id, source_id, line_no)
);
create index if not exists credit_note_lines_item_id on erp.credit_note_lines (item_id);

-- Payments of customers.
create table if not exists erp.payments (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    payment_number text,
    reference_number text,
    customer_id text collate "C",
    customer_name text,
    payment_status text,
    payment_mode text,
    date date,
    amount numeric,
    unused_amount numeric,
    bank_charges numeric,
    tax_amount_withheld numeric,
    currency_code text,
    exchange_rate numeric,
    account_id text collate "C",
    account_name text,
    invoice_numbers text,
    description text,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
create index if not exists payments_customer_id on erp.payments (customer_id);

-- The invoices a payment was set against, and how much of it.
create table if not exists erp.payment_allocations (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    invoice_id text collate "C",
    invoice_number text,
    amount_applied numeric,
    tax_amount_withheld numeric,
    discount_amount numeric,
    apply_date date,
    total numeric,
    balance numeric,
    primary key (organization_id, source_id, line_no)
);
create index if not exists payment_allocations_invoice_id on erp.payment_allocations (invoice_id);

-- Adjustments of stock; erp.stock_ledger shows those that move a quantity.
create table if not exists erp.stock_adjustments (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    adjustment_type text,
    status text,
    date date,
    reason text,
    reason_id text collate "C",
    reference_number text,
    description text,
    location_id text collate "C",
    location_name text,
    total numeric,
    custom_fields jsonb,
    created_time timestamptz,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);

-- What an adjustment did to each item.
create table if not exists erp.stock_adjustment_lines (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    line_no integer not null,
    line_item_id text collate "C",
    item_id text collate "C",
    name text,
    unit text,
    quantity_adjusted numeric,
    value_adjusted numeric,
    item_total numeric,
    location_id text collate "C",
    adjustment_account_id text collate "C",
    primary key (organization_id, source_id, line_no)
);
create index if not exists stock_adjustment_lines_item_id on erp.stock_adjustment_lines (item_id);

-- What moved stock: one row per line of each live adjustment of quantity. Drafts and what was refused move nothing.
create or replace view erp.stock_ledger as
select l.organization_id,
       l.source_id as adjustment_id,
       l.line_no,
       l.item_id,
       l.quantity_adjusted as quantity,
       coalesce(a.created_time, a.observed_at) as effective_at
  from erp.stock_adjustment_lines l
  join erp.stock_adjustments a using (organization_id, source_id)
 where a.deleted_at is null
   and a.adjustment_type = 'quantity'
   and coalesce(a.status, '') not in ('draft', 'pending_approval', 'rejected', 'void');

-- The stock of each product: the source's own figure, and what was adjusted since it was read. Null where nobody knows.
-- A sum over the ledger, never a running total: an adjustment that comes twice, late or corrected cannot make it drift.
create or replace view erp.stock as
select p.organization_id,
       p.source_id as item_id,
       p.name,
       p.sku,
       p.stock_on_hand as own_stock_on_hand,
       p.stock_read_at,
       coalesce(since.quantity, 0) as adjusted_since,
       p.stock_on_hand + coalesce(since.quantity, 0) as stock_on_hand,
       p.available_stock + coalesce(since.quantity, 0) as available_stock,
       p.actual_available_stock + coalesce(since.quantity, 0) as actual_available_stock
  from erp.products p
  cross join lateral (
       select sum(l.quantity) as quantity
         from erp.stock_ledger l
        where l.organization_id = p.organization_id
          and l.item_id = p.source_id
          and l.effective_at > p.stock_read_at
       ) since
 where p.deleted_at is null;
