-- Packs: which of them need which object of the artifact store.

-- name: need
-- A part of a pack needs these objects: written down before they are looked for, so that nobody removes them meanwhile.
insert into tidemark.packed_objects (object, plan, stage, shard)
select o.object, :plan, :stage, :shard from jsonb_array_elements_text(:objects::jsonb) as o (object) order by o.object collate "C"
on conflict do nothing;

-- name: hold
-- Nobody may need an object anew until this transaction is over.
lock table tidemark.packed_objects in exclusive mode;

-- name: unneeded
-- The objects that only these parts need.
select distinct mine.object
  from tidemark.packed_objects mine
 where mine.plan = :plan and mine.stage = :stage and mine.shard >= :lo and mine.shard < :hi
   and not exists (select from tidemark.packed_objects o
                    where o.object = mine.object
                      and not (o.plan = mine.plan and o.stage = mine.stage and o.shard >= :lo and o.shard < :hi))
 order by mine.object;

-- name: let_go
-- These parts need nothing any more.
delete from tidemark.packed_objects where plan = :plan and stage = :stage and shard >= :lo and shard < :hi;
