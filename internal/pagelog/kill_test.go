package pagelog

func appendForever(dir string) {}
