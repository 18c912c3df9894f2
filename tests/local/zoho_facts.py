"""Facts of recorded answers: which field of what had which type. S text, N number, B yes or no, L list, O object.

Fields that were only ever seen as "" are not here: they say nothing of their type. Read off recorded traffic once.
"""

FIELDS: dict[tuple[str, str], dict[str, str]] = {
    ("row", "customer"): {
        "B": ("is_linked_with_zohocrm track_1099 ach_supported has_attachment"),
        "L": ("custom_fields contactperson_custom_fields tags"),
        "N": (
            "payment_terms outstanding_receivable_amount outstanding_receivable_amount_bcy outstanding_payable_amount "
            "outstanding_payable_amount_bcy unused_credits_receivable_amount unused_credits_receivable_amount_bcy "
            "unused_credits_payable_amount unused_credits_payable_amount_bcy"
        ),
        "O": ("custom_field_hash"),
        "S": (
            "contact_id contact_name customer_name vendor_name company_name contact_type contact_type_formatted status "
            "customer_sub_type source payment_terms_id payment_terms_label currency_id currency_code portal_status "
            "portal_status_formatted created_time created_time_formatted last_modified_time last_modified_time_formatted"
        ),
    },
    ("row", "vendor"): {
        "B": ("is_linked_with_zohocrm track_1099 ach_supported has_attachment"),
        "L": ("custom_fields contactperson_custom_fields tags"),
        "N": (
            "payment_terms outstanding_receivable_amount outstanding_receivable_amount_bcy outstanding_payable_amount "
            "outstanding_payable_amount_bcy unused_credits_receivable_amount unused_credits_receivable_amount_bcy "
            "unused_credits_payable_amount unused_credits_payable_amount_bcy"
        ),
        "O": ("custom_field_hash"),
        "S": (
            "contact_id contact_name customer_name vendor_name contact_type contact_type_formatted status customer_sub_type "
            "source payment_terms_id payment_terms_label currency_id currency_code portal_status portal_status_formatted "
            "created_time created_time_formatted last_modified_time last_modified_time_formatted"
        ),
    },
    ("detail", "customer"): {
        "B": ("has_transaction is_taxable is_tds_registered is_linked_with_zohocrm payment_reminder_enabled"),
        "L": ("custom_fields contact_persons"),
        "N": (
            "credit_limit tax_percentage payment_terms opening_balance_amount exchange_rate outstanding_receivable_amount "
            "outstanding_receivable_amount_bcy unused_credits_receivable_amount unused_credits_receivable_amount_bcy"
        ),
        "O": ("billing_address shipping_address default_templates"),
        "S": (
            "contact_id contact_name company_name contact_type customer_sub_type tax_id tax_name tax_authority_id "
            "tax_exemption_id tax_authority_name tax_exemption_code place_of_contact gst_no tax_treatment tax_regime "
            "legal_name vat_treatment gst_treatment website owner_id primary_contact_id payment_terms_label currency_id "
            "currency_code currency_symbol status facebook twitter notes created_time last_modified_time"
        ),
    },
    ("row", "product"): {
        "B": ("is_linked_with_zohocrm can_be_sold can_be_purchased track_inventory has_attachment"),
        "L": ("tags"),
        "N": ("rate tax_percentage purchase_rate"),
        "S": (
            "item_id name item_name unit status source description purchase_account_id purchase_account_name account_id "
            "account_name item_type product_type created_time last_modified_time"
        ),
    },
    ("row", "invoice"): {
        "B": ("ach_payment_initiated is_viewed_by_client has_attachment is_emailed"),
        "L": ("custom_fields tags"),
        "N": ("total balance shipping_charge adjustment reminders_sent write_off_amount exchange_rate unprocessed_payment_amount"),
        "O": ("billing_address shipping_address custom_field_hash"),
        "S": (
            "invoice_id customer_id customer_name status invoice_number date due_date issued_date due_days country created_by "
            "created_time last_modified_time updated_time current_sub_status currency_id currency_code currency_symbol "
            "template_type invoice_source sales_channel transaction_type last_payment_date template_id invoice_url"
        ),
    },
    ("detail", "invoice"): {
        "B": (
            "is_last_child_invoice payment_reminder_enabled is_early_payment_discount_applicable is_progress_invoice "
            "can_show_kit_return is_kit_partial_return is_autobill_enabled inprocess_transaction_present "
            "allow_partial_payments is_discount_before_tax is_inclusive_tax can_send_invoice_sms "
            "stop_reminder_until_payment_expected_date ach_supported ach_payment_initiated reader_offline_payment_initiated "
            "is_emailed is_viewed_by_client can_send_in_mail is_client_review_settings_enabled includes_package_tracking_info"
        ),
        "L": (
            "customer_custom_fields custom_fields invoice_installments locked_actions line_items retention_items taxes "
            "shipping_charge_taxes exceptions contact_persons contact_persons_associated documents in_process_payments "
            "deliverychallans salesorders shipping_bills contact_persons_details sub_statuses approvers_list tags "
            "exchange_invoices"
        ),
        "N": (
            "unprocessed_payment_amount payment_terms early_payment_discount_percentage early_payment_discount_amount "
            "payment_made total_retention_amount exchange_rate price_precision sub_total tax_total total_taxable_amount "
            "discount_total discount_percent discount discount_applied_on_amount adjustment shipping_charge_exclusive_of_tax "
            "shipping_charge_inclusive_of_tax shipping_charge bcy_shipping_charge bcy_adjustment bcy_sub_total "
            "bcy_discount_total bcy_tax_total bcy_total total balance write_off_amount roundoff_value "
            "sub_total_inclusive_of_tax payment_discount reminders_sent unused_retainer_payments credits_applied "
            "tax_amount_withheld"
        ),
        "O": (
            "customer_custom_field_hash custom_field_hash lock_details lock_detail payment_options contact billing_address "
            "shipping_address customer_default_billing_address qr_code"
        ),
        "S": (
            "invoice_id invoice_number date due_date issued_date customer_id customer_name currency_id invoice_source "
            "currency_code currency_symbol currency_name_formatted status payment_terms_label retention_override_preference "
            "discount_type account_id account_name tax_override_preference shipping_charge_exclusive_of_tax_formatted "
            "shipping_charge_inclusive_of_tax_formatted transaction_rounding_type rounding_mode bcy_rounding_mode "
            "tax_rounding tds_calculation_type last_payment_date computation_type template_id template_name template_type "
            "notes invoice_url created_time last_modified_time created_date created_by_id created_by_name last_modified_by_id "
            "page_width page_height orientation sales_channel current_sub_status"
        ),
    },
    ("detail", "order"): {
        "B": ("is_pre_gst is_reverse_charge_applied is_update_customer is_discount_before_tax is_inclusive_tax"),
        "L": ("contact_persons_associated documents sub_statuses custom_fields line_items"),
        "N": ("exchange_rate shipping_charge adjustment"),
        "S": (
            "customer_id billing_address_id gst_no gst_treatment place_of_supply zcrm_potential_id tax_treatment "
            "salesorder_number reference_number template_id discount_type salesperson_id salesperson_name merchant_id "
            "merchant_name tax_id location_id adjustment_description delivery_method"
        ),
    },
    ("detail", "bill"): {
        "B": (
            "is_viewed_by_client is_item_level_tax_calc is_inclusive_tax is_uber_bill is_tally_bill track_discount_in_account "
            "is_bill_reconciliation_violated is_discount_before_tax is_line_item_invoiced is_approval_required "
            "can_send_in_mail"
        ),
        "L": (
            "sub_statuses documents custom_fields line_items purchaseorders taxes payments vendor_credits "
            "allocated_landed_costs unallocated_landed_costs retention_items approvers_list tags"
        ),
        "N": (
            "non_catalog_items_count unused_credits_payable_amount payment_terms due_in_days price_precision exchange_rate "
            "adjustment discount_amount discount discount_applied_on_amount sub_total sub_total_inclusive_of_tax tax_total "
            "discount_total discount_percent total payment_made vendor_credits_applied balance unprocessed_payment_amount "
            "total_retention_amount"
        ),
        "O": ("custom_field_hash billing_address"),
        "S": (
            "bill_id vendor_id vendor_name source status current_sub_status bill_number date due_date discount_setting "
            "tds_calculation_type payment_terms_label currency_id currency_code currency_symbol currency_name_formatted "
            "tax_rounding discount_type computation_type tax_override_preference billing_address_id created_time "
            "created_by_id last_modified_id last_modified_time notes template_id template_name page_width page_height "
            "orientation template_type entity_type account_id account_name"
        ),
    },
    ("detail", "credit_note"): {
        "B": ("is_emailed is_viewed_by_client is_inclusive_tax is_discount_before_tax"),
        "L": (
            "invoices_credited contact_persons contact_persons_associated exceptions sub_statuses line_items documents "
            "custom_fields shipping_charge_taxes taxes creditnote_refunds locked_actions approvers_list tags"
        ),
        "N": (
            "exchange_rate price_precision discount discount_applied_on_amount shipping_charge_exclusive_of_tax "
            "shipping_charge_inclusive_of_tax shipping_charge adjustment roundoff_value sub_total sub_total_inclusive_of_tax "
            "tax_total total total_credits_used total_refunded_amount balance"
        ),
        "O": ("custom_field_hash billing_address shipping_address lock_details lock_detail"),
        "S": (
            "creditnote_id creditnote_number status date issued_date created_time created_by_id last_modified_by_id "
            "last_modified_time created_by_name customer_id customer_name tds_calculation_type tax_rounding "
            "tax_override_preference current_sub_status template_id template_type template_name page_width page_height "
            "orientation currency_id currency_code currency_symbol currency_name_formatted discount_type account_id "
            "account_name shipping_charge_exclusive_of_tax_formatted shipping_charge_inclusive_of_tax_formatted "
            "transaction_rounding_type rounding_mode bcy_rounding_mode computation_type"
        ),
    },
    ("detail", "payment"): {
        "B": (
            "is_client_review_settings_enabled is_early_payment_discount_applicable is_ondc_channel can_send_in_mail "
            "can_send_payment_sms is_payment_details_required"
        ),
        "L": ("locked_actions documents invoices payment_refunds deposit_details custom_fields imported_transactions tags"),
        "N": ("exchange_rate amount unused_amount bank_charges tax_amount_withheld discount_amount price_precision"),
        "O": ("lock_details custom_field_hash"),
        "S": (
            "payment_id payment_number created_by created_time updated_time payment_number_suffix customer_id customer_name "
            "payment_mode date account_id account_name account_type customer_advance_account_id customer_advance_account_name "
            "currency_id currency_symbol currency_code payment_status template_id template_name page_width page_height "
            "orientation template_type rounding_mode"
        ),
    },
    ("row", "user"): {
        "B": ("is_current_user is_customer_segmented is_vendor_segmented"),
        "S": ("user_id role_id name email user_role status photo_url user_type"),
    },
    ("row", "price_list"): {
        "B": ("is_default is_increase"),
        "L": ("pricebook_items"),
        "N": ("decimal_place percentage"),
        "S": (
            "currency_id description name pricebook_id pricebook_type pricing_scheme rounding_type sales_or_purchase_type status"
        ),
    },
    ("row", "stock_adjustment"): {
        "L": ("custom_fields"),
        "N": ("total"),
        "S": ("inventory_adjustment_id date reason reason_id description reference_number adjustment_type"),
    },
}

LINES: dict[str, dict[str, str]] = {
    "invoice": {
        "B": ("is_modifier_item"),
        "L": ("discounts item_custom_fields tags documents line_item_taxes time_entry_ids mapped_items"),
        "N": (
            "item_order quantity discount_amount discount bcy_rate rate tax_percentage item_total sales_rate cost_amount "
            "markup_percent"
        ),
        "O": ("item_code"),
        "S": (
            "line_item_id item_id name description unit account_id account_name tax_type pricing_scheme item_type "
            "line_item_category"
        ),
    },
    "bill": {
        "B": ("is_billable"),
        "L": ("tags discounts line_item_taxes item_custom_fields purchase_request_items receive_line_items"),
        "N": ("bcy_rate rate quantity quantity_received discount markup_percent tax_percentage item_total item_order"),
        "O": ("item_code"),
        "S": ("line_item_id line_item_category account_id account_name description tax_type"),
    },
    "credit_note": {
        "B": ("can_skip_stock_tracking is_credit_only_item is_modifier_item"),
        "L": ("item_custom_fields discounts line_item_taxes tags mapped_items"),
        "N": ("item_order quantity discount_amount discount bcy_rate rate tax_percentage item_total"),
        "O": ("item_code"),
        "S": ("item_id line_item_id account_id account_name name pricing_scheme unit line_item_category tax_type item_type"),
    },
    "order": {
        "B": ("is_taxable is_invoiced"),
        "N": ("bcy_rate tax_percentage item_total_inclusive_of_tax hsn_or_sac sat_item_key_code"),
        "S": ("line_item_id tax_id tds_tax_id tax_treatment_code product_type unitkey_code project_id project_name location_id"),
    },
    "payment": {
        "B": ("is_early_payment_discount_applicable"),
        "L": ("invoice_installments installments"),
        "N": ("amount_applied tax_amount_withheld discount_amount total balance price_precision"),
        "S": ("invoice_number invoice_payment_id invoice_id date due_date apply_date"),
    },
}
