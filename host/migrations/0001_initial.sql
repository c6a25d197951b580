-- Rows are written in the order of their `seq`, which is also the cursor of lists.
-- Times are milliseconds since the Unix epoch. Ids are the 16 bytes of a UUID version 7.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE event (
    -- Counted by `store::seen`; no number is used twice.
    seq             INTEGER PRIMARY KEY,
    id              BLOB    NOT NULL CHECK (length(id) = 16),
    tenant          TEXT    NOT NULL,
    integration_id  TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    event_type      TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    received_at     INTEGER NOT NULL,
    occurred_at     INTEGER,
    body_bytes      INTEGER NOT NULL CHECK (0 <= body_bytes),
    duplicate_count INTEGER NOT NULL DEFAULT 0 CHECK (0 <= duplicate_count),
    duplicate_at    INTEGER,
    -- Keyed hashes of the keys by which a repeat is recognised, see `store::seen`.
    id_hash         BLOB    NOT NULL CHECK (length(id_hash) = 16),
    content_hash    BLOB    CHECK (length(content_hash) = 16),
    content_until   INTEGER,
    CHECK ((duplicate_count = 0) = (duplicate_at IS NULL)),
    CHECK (content_until IS NULL OR content_hash IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX event_by_id          ON event (id);
CREATE INDEX        event_by_tenant      ON event (tenant);
CREATE INDEX        event_by_integration ON event (integration_id);

-- Headers and body, apart from the event, so that lists do not read them.
CREATE TABLE event_content (
    event_seq  INTEGER PRIMARY KEY REFERENCES event (seq),
    encoding   TEXT    NOT NULL CHECK (encoding IN ('raw', 'lz4')),
    -- One of the table below. Not a foreign key: that would need an index, and `store::dictionaries` knows
    -- how long each is used.
    dictionary INTEGER CHECK (dictionary IS NULL OR encoding = 'lz4'),
    content    BLOB    NOT NULL
) STRICT;

-- The ends of contents, behind which later ones of their integration are packed, see `store::dictionaries`.
CREATE TABLE content_dictionary (
    -- The row of the event that brought it, which may be gone.
    event_seq INTEGER PRIMARY KEY,
    -- The first row that cannot need it any more. NULL while it is in use, and where that was not written down.
    end_seq   INTEGER CHECK (event_seq < end_seq),
    content   BLOB    NOT NULL
) STRICT;

-- Further keys of an event: ids under which its content came again.
CREATE TABLE event_name (
    -- No number is used twice: `store::seen` knows by it which names are in a block.
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    hash      BLOB    NOT NULL CHECK (length(hash) = 16),
    event_seq INTEGER NOT NULL REFERENCES event (seq)
) STRICT;
CREATE INDEX event_name_by_hash  ON event_name (hash);
CREATE INDEX event_name_by_event ON event_name (event_seq);

-- Key hashes that are no longer in memory, see `store::seen`. A block is the keys of one slice
-- whose first ten bits are the same, sorted; its id is 1,024 times the slice, and those bits.
CREATE TABLE event_key_block (
    id      INTEGER PRIMARY KEY,
    entries BLOB    NOT NULL
) STRICT;

-- What is read of blocks at the start, 32 together: the newest rows whose keys of those first bits
-- are in these blocks or earlier ones, and for each block the filter that says which keys it may hold.
CREATE TABLE event_key_filter (
    -- Of the first of the 32.
    id            INTEGER PRIMARY KEY CHECK (id % 32 = 0),
    event_seq_max INTEGER NOT NULL,
    name_seq_max  INTEGER NOT NULL,
    filters       BLOB    NOT NULL CHECK (length(filters) = 32 * 1024)
) STRICT;

CREATE TABLE run (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               BLOB    NOT NULL CHECK (length(id) = 16),
    event_seq        INTEGER NOT NULL REFERENCES event (seq),
    tenant           TEXT    NOT NULL,
    policy           TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'dead')),
    created_at       INTEGER NOT NULL,
    run_after        INTEGER,
    lease_until      INTEGER,
    finished_at      INTEGER,
    attempt          INTEGER NOT NULL DEFAULT 0,
    ordering_key     TEXT,
    -- Keyed hash of tenant, policy, integration and ordering key.
    ordering_hash    BLOB CHECK (length(ordering_hash) = 16),
    -- 1 while an earlier run with the same hash is not over.
    waits            INTEGER NOT NULL DEFAULT 0 CHECK (waits IN (0, 1)),
    late             INTEGER NOT NULL DEFAULT 0 CHECK (late IN (0, 1)),
    -- Why it was over before it began.
    dropped          TEXT CHECK (dropped IN ('late', 'stale')),
    -- Attempts that ended in an error of the host; they do not count against the policy's limit.
    host_errors      INTEGER NOT NULL DEFAULT 0,
    breaches         INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    outcome          TEXT CHECK (outcome IN ('ignored', 'noted', 'acted', 'routed', 'dropped')),
    decision         TEXT,
    dead_reason      TEXT,
    CHECK ((state = 'queued')  = (run_after   IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('completed', 'dead')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'completed') = (outcome IS NOT NULL)),
    CHECK ((outcome IS 'dropped') = (dropped IS NOT NULL)),
    CHECK ((state = 'completed' AND dropped IS NULL) = (decision IS NOT NULL)),
    CHECK ((ordering_key IS NULL) = (ordering_hash IS NULL)),
    CHECK (waits = 0 OR (state = 'queued' AND ordering_hash IS NOT NULL)),
    CHECK ((state = 'dead') = (dead_reason IS NOT NULL)),
    CHECK (0 <= host_errors AND host_errors <= attempt),
    CHECK ((attempt = 0) = (first_attempt_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX run_by_id    ON run (id);
CREATE INDEX        run_by_event ON run (event_seq);
CREATE INDEX        run_by_tenant ON run (tenant);
CREATE INDEX        run_due      ON run (tenant, policy, run_after) WHERE state = 'queued' AND waits = 0;
CREATE INDEX        run_in_order ON run (ordering_hash, seq)
    WHERE ordering_hash IS NOT NULL AND state IN ('queued', 'running');
CREATE INDEX        run_leased   ON run (lease_until)    WHERE state = 'running';
CREATE INDEX        run_dead     ON run (seq)            WHERE state = 'dead';

-- The newest version seen under each ordering hash, for policies that drop stale news.
CREATE TABLE newest_version (
    ordering_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(ordering_hash) = 16),
    version       TEXT    NOT NULL,
    seen_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX newest_version_by_age ON newest_version (seen_at);

CREATE TABLE attempt (
    run_seq           INTEGER NOT NULL REFERENCES run (seq),
    number            INTEGER NOT NULL CHECK (1 <= number),
    started_at        INTEGER NOT NULL,
    finished_at       INTEGER NOT NULL,
    class             TEXT    NOT NULL,
    error             TEXT,
    classifier_digest TEXT,
    triager_digest    TEXT,
    cpu_us            INTEGER NOT NULL,
    memory_bytes      INTEGER NOT NULL,
    log               TEXT    NOT NULL,
    PRIMARY KEY (run_seq, number),
    CHECK ((class = 'decided') = (error IS NULL))
) STRICT, WITHOUT ROWID;

-- Versions of plugins that were pushed or active, by the SHA-256 of their components in hexadecimal.
CREATE TABLE plugin_version (
    plugin          TEXT    NOT NULL,
    digest          TEXT    NOT NULL CHECK (length(digest) = 64),
    -- NULL where it only came from the plugin's file.
    pushed_at       INTEGER,
    -- NULL where it was never active.
    first_active_at INTEGER,
    activated_at    INTEGER,
    -- NULL while it is the plugin's version, and where it was never active.
    retired_at      INTEGER,
    PRIMARY KEY (plugin, digest),
    CHECK ((first_active_at IS NULL) = (activated_at IS NULL)),
    CHECK (activated_at IS NOT NULL OR (pushed_at IS NOT NULL AND retired_at IS NULL))
) STRICT, WITHOUT ROWID;

-- Versions that were activated in the place of the one in the plugin's file.
CREATE TABLE plugin_choice (
    plugin TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    -- The version that the file had then; another one there ends the choice. NULL until a server saw it.
    beside TEXT,
    FOREIGN KEY (plugin, digest) REFERENCES plugin_version (plugin, digest)
) STRICT, WITHOUT ROWID;

-- Events on which a version broke a rule.
CREATE TABLE strike (
    event_seq INTEGER NOT NULL REFERENCES event (seq),
    tenant    TEXT    NOT NULL,
    plugin    TEXT    NOT NULL,
    digest    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (event_seq, tenant, plugin, digest)
) STRICT, WITHOUT ROWID;

-- What is counted of versions that have strikes, see `store::strikes`.
CREATE TABLE suspect (
    tenant TEXT    NOT NULL,
    plugin TEXT    NOT NULL,
    digest TEXT    NOT NULL,
    since  INTEGER NOT NULL,
    events INTEGER NOT NULL CHECK (0 <= events),
    runs   INTEGER NOT NULL CHECK (0 <= runs),
    broken INTEGER NOT NULL CHECK (0 <= broken),
    PRIMARY KEY (tenant, plugin, digest)
) STRICT, WITHOUT ROWID;

-- Versions that are not run any more for a tenant.
CREATE TABLE quarantine (
    tenant  TEXT    NOT NULL,
    plugin  TEXT    NOT NULL,
    digest  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    -- The version that runs in its place, if there is one.
    instead TEXT,
    PRIMARY KEY (tenant, plugin, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE action (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               BLOB    NOT NULL CHECK (length(id) = 16),
    run_seq          INTEGER NOT NULL REFERENCES run (seq),
    tenant           TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    destination      TEXT    NOT NULL,
    idempotency_key  TEXT    NOT NULL,
    content          TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    created_at       INTEGER NOT NULL,
    -- When it may be claimed next. A claim moves it behind the claim's lease.
    due_at           INTEGER,
    finished_at      INTEGER,
    attempt          INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    dead_reason      TEXT,
    CHECK ((state = 'pending') = (due_at IS NOT NULL)),
    CHECK ((state = 'pending') = (finished_at IS NULL)),
    CHECK ((state = 'dead') = (dead_reason IS NOT NULL)),
    CHECK ((attempt = 0) = (first_attempt_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX action_by_run ON action (run_seq, name);
CREATE INDEX        action_due    ON action (tenant, due_at) WHERE state = 'pending';
CREATE INDEX        action_dead   ON action (seq)         WHERE state = 'dead';

CREATE TABLE action_attempt (
    action_seq  INTEGER NOT NULL REFERENCES action (seq),
    number      INTEGER NOT NULL CHECK (1 <= number),
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT,
    PRIMARY KEY (action_seq, number)
) STRICT, WITHOUT ROWID;

-- What the destination answered: at most one for an action.
CREATE TABLE receipt (
    action_seq INTEGER PRIMARY KEY REFERENCES action (seq),
    at         INTEGER NOT NULL,
    ticket_id  BLOB CHECK (length(ticket_id) = 16),
    status     INTEGER,
    body       TEXT,
    request_id TEXT,
    CHECK ((ticket_id IS NULL) = (status IS NOT NULL))
) STRICT;

-- The built-in desk.
CREATE TABLE ticket (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    action_seq INTEGER NOT NULL UNIQUE REFERENCES action (seq),
    tenant     TEXT    NOT NULL,
    title      TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    labels     TEXT    NOT NULL,
    assignee   TEXT,
    group_key  TEXT,
    priority   TEXT    NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'critical')),
    category   TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ticket_by_id     ON ticket (id);
CREATE INDEX        ticket_by_tenant ON ticket (tenant);

-- Deliveries that were refused: the newest ones, without their bodies.
CREATE TABLE rejection (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    tenant         TEXT    NOT NULL,
    integration_id TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    cause          TEXT    NOT NULL,
    header         TEXT,
    remote         TEXT    NOT NULL,
    body_bytes     INTEGER NOT NULL CHECK (0 <= body_bytes),
    body_sha256    BLOB CHECK (length(body_sha256) = 32)
) STRICT;

-- How many of them there were, those that are not listed included.
CREATE TABLE rejection_count (
    tenant         TEXT    NOT NULL,
    integration_id TEXT    NOT NULL,
    cause          TEXT    NOT NULL,
    count          INTEGER NOT NULL CHECK (0 < count),
    PRIMARY KEY (tenant, integration_id, cause)
) STRICT, WITHOUT ROWID;
-- Integrations that were added beside those of the configuration's file.
CREATE TABLE integration (
    id                 TEXT       NOT NULL PRIMARY KEY,
    tenant             TEXT       NOT NULL,
    -- A name: what it stands for is known to the program and to the configuration's file.
    source             TEXT       NOT NULL,
    body_bytes_max     INTEGER NOT NULL CHECK (0 < body_bytes_max),
    -- Where NULL: so much as follows from the largest body.
    inflated_bytes_max INTEGER CHECK (0 < inflated_bytes_max),
    -- Where NULL: every delivery is taken.
    rate_deliveries    INTEGER CHECK (0 < rate_deliveries),
    rate_period_ms     INTEGER CHECK (0 < rate_period_ms),
    -- Where NULL: as many as `rate_deliveries`.
    rate_burst         INTEGER CHECK (0 < rate_burst),
    created_at         INTEGER NOT NULL,
    CHECK ((rate_deliveries IS NULL) = (rate_period_ms IS NULL)),
    CHECK (rate_burst IS NULL OR rate_deliveries IS NOT NULL)
) STRICT;
CREATE INDEX integration_by_tenant ON integration (tenant, id);

-- Signing secrets. Of those in the configuration's file only the id, which is a keyed hash.
CREATE TABLE secret (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant         TEXT    NOT NULL,
    -- One of the table above or of the file.
    integration_id TEXT    NOT NULL,
    origin         TEXT    NOT NULL CHECK (origin IN ('file', 'store')),
    created_at     INTEGER NOT NULL,
    last_used_at   INTEGER,
    live_until     INTEGER,
    retired_at     INTEGER,
    -- Nonce and ciphertext, see `store::sealing`. What is retired is forgotten.
    sealed         BLOB,
    CHECK ((sealed IS NOT NULL) = (origin = 'store' AND retired_at IS NULL)),
    CHECK (origin = 'store' OR (live_until IS NULL AND retired_at IS NULL))
) STRICT;
CREATE INDEX secret_by_integration ON secret (integration_id);
CREATE INDEX secret_by_end         ON secret (live_until) WHERE live_until IS NOT NULL;
CREATE INDEX secret_sealed         ON secret (id)         WHERE sealed IS NOT NULL;

CREATE TABLE token (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    name       TEXT    NOT NULL,
    -- NULL: every tenant.
    tenant     TEXT,
    role       TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at INTEGER NOT NULL
) STRICT;

-- What a browser holds instead of a token: a session, or a link that makes one, once.
CREATE TABLE browser_grant (
    hash       BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    kind       TEXT    NOT NULL CHECK (kind IN ('link', 'session')),
    token_id   BLOB    NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX browser_grant_by_expiry ON browser_grant (expires_at);
CREATE INDEX browser_grant_by_token  ON browser_grant (token_id);
