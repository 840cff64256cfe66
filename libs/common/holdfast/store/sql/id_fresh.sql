-- An id that sorts by its time, as those of all rows do that are listed.
SELECT uuidv7() AS id
