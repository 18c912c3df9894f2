-- To be written.
select 1;
