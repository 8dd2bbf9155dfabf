-- Lines that the old commit executed and the new one does not, though they are still executable.
-- Needs a table or view `coverage` with the rows of both commits, and one that names them:
--     CREATE TEMPORARY VIEW commits AS SELECT 'abc123' AS old, 'def456' AS new;
-- Line numbers mean the same only in the same text: where both commits' digests of a file are known and differ, it
-- has one row without a line number, with its executed lines before and after, if they became fewer.
WITH lines AS (
    SELECT commit, path, line, MAX(source) AS source, MAX(count) AS count
    FROM coverage
    GROUP BY commit, path, line
),
sources AS (
    SELECT commit, path, MAX(source) AS source, COUNT(CASE WHEN count > 0 THEN 1 END) AS executed
    FROM lines
    GROUP BY commit, path
),
pairs AS (
    SELECT
        before.path,
        before.executed AS executed_before,
        after.executed AS executed_after,
        before.source <> '' AND after.source <> '' AND before.source <> after.source AS changed
    FROM commits
    JOIN sources before ON before.commit = commits.old
    JOIN sources after ON after.commit = commits.new AND after.path = before.path
)
SELECT before.path, before.line, before.count AS before, after.count AS after
FROM commits
JOIN lines before ON before.commit = commits.old AND before.count > 0
JOIN lines after ON after.commit = commits.new AND after.path = before.path AND after.line = before.line
JOIN pairs ON pairs.path = before.path AND NOT pairs.changed
WHERE after.count = 0
UNION ALL
SELECT path, NULL AS line, executed_before AS before, executed_after AS after
FROM pairs
WHERE changed AND executed_after < executed_before
ORDER BY path, line;
