package io.millrace.log;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.avro.Schema;

/** A registry that lives as long as the object, for topology tests and for benchmarks that have no server. */
public final class InMemorySchemaRegistry implements SchemaRegistry {
    private final List<Schema> schemas = new CopyOnWriteArrayList<>();

    @Override
    public synchronized int register(String subject, Schema schema) {
        int known = schemas.indexOf(schema);
        if (known >= 0) {
            return known + 1;
        }
        schemas.add(schema);
        return schemas.size();
    }

    @Override
    public Schema byId(int id) {
        if (id < 1 || id > schemas.size()) {
            throw new UndecodableException("no schema has id " + id);
        }
        return schemas.get(id - 1);
    }
}
