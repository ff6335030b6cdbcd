-- A number that is added to every epoch sent to auth-service; it is raised after a backup was restored.

CREATE TABLE epoch_base (base bigint NOT NULL);

CREATE UNIQUE INDEX one_epoch_base ON epoch_base ((true));

INSERT INTO epoch_base VALUES (0);
