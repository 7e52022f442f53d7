/** Redis as a memory that may be away. */
@NullMarked
package io.millrace.routers.redis;

import org.jspecify.annotations.NullMarked;
