// Shared memory whose size the launch decides: DYNAMIC_SHARED(float, tile); begins at a multiple of 16 bytes.

#ifdef MINIVGG_ON_HOST
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulator::dynamic_shared.get())
#else
#define DYNAMIC_SHARED(T, name)                                \
    extern __shared__ __align__(16) unsigned char name##_at[]; \
    T* name = reinterpret_cast<T*>(name##_at)
#endif
